//! `go!`, `go_local!`, `join!` and `race!`, each of which is one function call, and `coroutine_local!`.

/// Starts a coroutine and returns its [`JoinHandle`](crate::JoinHandle).
///
/// | form | meaning |
/// |---|---|
/// | `go!(f)` | [`spawn(f)`](crate::spawn) |
/// | `go!("name", f)` | with a name |
/// | `go!(builder, f)` | as a [`Builder`](crate::Builder) says |
/// | `go!(ctx, f)` | with a [`Context`](crate::context::Context) as its current one, such as [`context::current()`](crate::context::current) |
/// | `go!(in rt, f)` | on the [`Runtime`](crate::Runtime) `rt`, from anywhere |
///
/// # Examples
/// ```
/// use gort::{go, Builder};
/// gort::run(|| {
///     let x = 20;
///     let a = go!(move || x + 1);
///     let b = go!("named", move || x + 2);
///     let c = go!(Builder::new().stack_size(1 << 20), move || x + 3);
///     assert_eq!((a.join().unwrap(), b.join().unwrap(), c.join().unwrap()), (21, 22, 23));
/// });
/// let rt = gort::Runtime::new().unwrap();
/// assert_eq!(go!(in rt, || 24).join().unwrap(), 24);
/// ```
///
/// # Panics
/// Where [`Builder::spawn`](crate::Builder::spawn) returns an error: outside a runtime (other than
/// with `in`), after shutdown, out of memory.
///
/// # Scheduling
/// As [`spawn`](crate::spawn): does not park.
#[macro_export]
macro_rules! go {
    (in $rt:expr, $f:expr $(,)?) => {
        $crate::Runtime::spawn(&$rt, $f)
    };
    ($f:expr $(,)?) => {
        $crate::spawn($f)
    };
    ($how:expr, $f:expr $(,)?) => {
        $crate::__private::go_with($how, $f)
    };
}

/// Starts a coroutine that lives in the caller's home, so that its closure need not be `Send`.
///
/// The forms are those of [`go!`](crate::go), without `in`. See
/// [`spawn_local`](crate::spawn_local), also for whom a destructor must not wait.
///
/// # Examples
/// ```
/// gort::run(|| {
///     let local = std::rc::Rc::new(5);
///     assert_eq!(gort::go_local!(move || *local).join().unwrap(), 5);
/// });
/// ```
///
/// # Panics
/// Where [`Builder::spawn_local`](crate::Builder::spawn_local) returns an error: outside a
/// runtime, after shutdown, out of memory.
///
/// # Scheduling
/// As [`spawn_local`](crate::spawn_local): does not park.
#[macro_export]
macro_rules! go_local {
    ($f:expr $(,)?) => {
        $crate::spawn_local($f)
    };
    ($how:expr, $f:expr $(,)?) => {
        $crate::__private::go_local_with($how, $f)
    };
}

/// Runs closures at once, the first in place and each other in a coroutine of its own, and returns a tuple of what
/// they return, when all have ended.
///
/// They may borrow from the caller, as in a [`scope`](crate::scope()). There may be up to twelve. The first need not be `Send`.
///
/// # Examples
/// ```
/// gort::run(|| {
///     let numbers = [3, 1, 2];
///     let mut sorted = numbers;
///     let (sum, least, ()) = gort::join!(
///         || numbers.iter().sum::<i32>(),
///         || numbers.iter().min(),
///         || sorted.sort(),
///     );
///     assert_eq!((sum, least, sorted), (6, Some(&1), [1, 2, 3]));
/// });
/// ```
///
/// # Panics
/// If any closure does, when all have ended: with the payload of the leftmost. On a plain thread.
///
/// # Scheduling
/// Parks the coroutine until all have ended. If that is cancelled meanwhile, the first closure is; the others end by
/// themselves.
#[macro_export]
macro_rules! join {
    ($($f:expr),+ $(,)?) => {
        $crate::group::join(($($f,)+))
    };
}

/// Runs closures at once, each in a coroutine of its own; the first that ends wins, and what it returns is returned. The
/// others are [cancelled](crate::JoinHandle::cancel), and waited for.
///
/// They may borrow from the caller, as in a [`scope`](crate::scope()). There may be up to twelve. What a loser returns, if it
/// ends by itself all the same, is dropped. A loser that computes, or is in a [`shield`](crate::shield), holds up the rest.
///
/// # Examples
/// ```
/// use std::time::Duration;
/// gort::run(|| {
///     let (_sender, mirror) = gort::channel::bounded(0);
///     let answer = gort::race!(
///         || mirror.recv().unwrap_or("gone"),
///         || {
///             gort::time::sleep(Duration::from_millis(1));
///             "too late"
///         },
///     );
///     assert_eq!(answer, "too late");
/// });
/// ```
///
/// # Panics
/// If any closure does, also a loser, when all have ended. On a plain thread.
///
/// # Scheduling
/// Parks the coroutine until all have ended. If that is cancelled meanwhile, they are.
#[macro_export]
macro_rules! race {
    ($($f:expr),+ $(,)?) => {
        $crate::group::race(($($f,)+))
    };
}

/// Declares values of which each coroutine has its own, in the grammar of [`std::thread_local!`].
///
/// A value is made when its coroutine first uses it, by the expression, and dropped when the coroutine ends, before whoever
/// [joins](crate::JoinHandle::join) it goes on: in reverse order, as std's are. How a value is used,
/// [`LocalKey`](crate::LocalKey) says. On a plain thread it is the thread's.
///
/// *Or a thread-local?* Those are sound in coroutines, and faster by a nanosecond or two. But coroutines may share them: there
/// are at most so many [homes](crate::RuntimeBuilder::homes), and local coroutines have their spawner's. What belongs to
/// a task, a request or a call belongs here; caches that any coroutine may use belong there. Inside
/// [`blocking`](crate::blocking) the values may be those of a spare thread, as thread-locals may.
///
/// *Inheritance.* A new coroutine has none of its spawner's values. If a declaration begins with `#[inherit]`, and the
/// coroutine is spawned by a builder that says [`inherit`](crate::Builder::inherit), it has a clone. The type must be
/// `Clone` and `Send` then.
///
/// # Examples
/// ```
/// use gort::coroutine_local;
/// use std::cell::{Cell, RefCell};
///
/// coroutine_local! {
///     /// What the coroutine has done so far.
///     pub static LOG: RefCell<Vec<String>> = RefCell::default();
///     static COUNT: Cell<u32> = const { Cell::new(0) };
///     #[inherit]
///     static REQUEST: Cell<u64> = const { Cell::new(0) };
/// }
///
/// fn note(text: &str) {
///     COUNT.set(COUNT.get() + 1);
///     LOG.with_borrow_mut(|log| log.push(format!("request {}: {text}", REQUEST.get())));
/// }
///
/// gort::run(|| {
///     REQUEST.set(7);
///     note("begins");
///     let part = gort::Builder::new().inherit().spawn(|| {
///         note("a part of it");
///         LOG.take()
///     });
///     assert_eq!(part.unwrap().join().unwrap(), ["request 7: a part of it"]);
///     assert_eq!(LOG.take(), ["request 7: begins"]);
///     assert_eq!(COUNT.get(), 1);
/// });
/// ```
///
/// # Scheduling
/// To use a value does not park. The coroutine may park while it uses one.
#[macro_export]
macro_rules! coroutine_local {
    () => {};
    // A declaration: its attributes one by one, since one of them is ours.
    (@declare $new:ident [$($attr:tt)*] #[inherit] $($rest:tt)*) => {
        $crate::coroutine_local!(@declare inherited [$($attr)*] $($rest)*);
    };
    (@declare $new:ident [$($attr:tt)*] #[$one:meta] $($rest:tt)*) => {
        $crate::coroutine_local!(@declare $new [$($attr)* #[$one]] $($rest)*);
    };
    (@declare $new:ident [$($attr:tt)*] $vis:vis static $name:ident: $type:ty = const $init:block $(; $($rest:tt)*)?) => {
        $($attr)*
        $vis static $name: $crate::LocalKey<$type> = {
            fn make() -> $type {
                const { $init }
            }
            ::std::thread_local!(static THREAD: $type = const { $init });
            $crate::LocalKey::$new(make, &THREAD)
        };
        $($crate::coroutine_local!($($rest)*);)?
    };
    (@declare $new:ident [$($attr:tt)*] $vis:vis static $name:ident: $type:ty = $init:expr $(; $($rest:tt)*)?) => {
        $($attr)*
        $vis static $name: $crate::LocalKey<$type> = {
            fn make() -> $type {
                $init
            }
            ::std::thread_local!(static THREAD: $type = make());
            $crate::LocalKey::$new(make, &THREAD)
        };
        $($crate::coroutine_local!($($rest)*);)?
    };
    (@declare $($other:tt)*) => {
        ::std::compile_error!("coroutine_local! takes what thread_local! takes: `static NAME: Type = value;`");
    };
    ($($declarations:tt)+) => {
        $crate::coroutine_local!(@declare new [] $($declarations)+);
    };
}

/// What the macros expand to.
#[doc(hidden)]
#[allow(missing_docs, reason = "not for users")]
pub mod __private {
    use crate::context::Context;
    use crate::sched::or_panic;
    use crate::{Builder, JoinHandle};

    pub use crate::channel::macro_parts as select;

    /// A name, a builder, or a context to run in.
    pub trait How: Sized {
        fn into_parts(self) -> (Builder, Option<Context>);
    }

    impl How for Builder {
        fn into_parts(self) -> (Builder, Option<Context>) {
            (self, None)
        }
    }
    impl How for &str {
        fn into_parts(self) -> (Builder, Option<Context>) {
            (Builder::new().name(self), None)
        }
    }
    impl How for String {
        fn into_parts(self) -> (Builder, Option<Context>) {
            (Builder::new().name(self), None)
        }
    }
    impl How for Context {
        fn into_parts(self) -> (Builder, Option<Context>) {
            (Builder::new(), Some(self))
        }
    }
    impl How for &Context {
        fn into_parts(self) -> (Builder, Option<Context>) {
            (Builder::new(), Some(self.clone()))
        }
    }

    #[track_caller]
    pub fn go_with<F, T>(how: impl How, f: F) -> JoinHandle<T>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        or_panic(match how.into_parts() {
            (builder, None) => builder.spawn(f),
            (builder, Some(ctx)) => ctx.spawn_in(builder, f),
        })
    }

    #[track_caller]
    pub fn go_local_with<F, T>(how: impl How, f: F) -> JoinHandle<T>
    where
        F: FnOnce() -> T + 'static,
        T: 'static,
    {
        or_panic(match how.into_parts() {
            (builder, None) => builder.spawn_local(f),
            (builder, Some(ctx)) => builder.spawn_local(move || ctx.run(f)),
        })
    }
}
