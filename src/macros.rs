//! `go!` and `go_local!`: each is one function call.

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
