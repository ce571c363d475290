//! `select!` and `select_biased!`.
//!
//! Two steps. `@parse` goes through the tokens case by case, brings each to one form, and gives it two names
//! and a number out of a list. `@expand` makes all code at once: a `match` whose scrutinee holds what the
//! handles' expressions make until the end, as a user expects of a `match`; one function call, which waits; and a
//! second `match` by the number. Bodies are arms of it, so that `break`, `?` and moves do in them what they do elsewhere.

/// Waits for the first of several operations, and does it.
///
/// | case | it is chosen when | `result` is |
/// |---|---|---|
/// | `recv(receiver) -> result => body` | a message comes, or the channel is empty and disconnected | `Result<T, RecvError>` |
/// | `send(sender, message) -> result => body` | the message can be sent, or the channel is disconnected | `Result<(), SendError<T>>` |
/// | `wait(something) => body` | the [`Waitable`](crate::channel::Waitable) is ready | |
/// | `default => body` | no other case can be chosen at once | |
/// | `default(timeout) => body` | no other case could be chosen for so long | |
///
/// Exactly one case is chosen. If several can be, any of them is: see
/// [`select_biased!`](crate::select_biased) for the first. `result` is any pattern that cannot fail. A body is an
/// expression; after a block the comma may be left out. The value of the body is that of the `select!`.
///
/// The receivers and senders, which may also be references, boxes or whatever else leads to one, are
/// evaluated first, once each; the message only when its case has been chosen. So two sends may offer the
/// same value. A receiver that is met in this way waits until the message has been made; if that panics, it goes
/// on waiting.
///
/// There may be 48 cases; [`Select`](crate::channel::Select) takes any number.
///
/// # Examples
///
/// ```
/// use gort::channel::unbounded;
/// use gort::{go, select};
///
/// gort::run(|| {
///     let (s1, r1) = unbounded();
///     let (s2, r2) = unbounded();
///     go!(move || s1.send(10).unwrap());
///     go!(move || s2.send(20).unwrap());
///     let first = select! {
///         recv(r1) -> message => message.unwrap(),
///         recv(r2) -> message => message.unwrap(),
///     };
///     assert!(first == 10 || first == 20);
/// });
/// ```
///
/// A send and a receive, with a timeout:
///
/// ```
/// use gort::channel::{bounded, unbounded};
/// use std::time::Duration;
///
/// let (sender, _other_end) = bounded(0);
/// let (_other_end, receiver) = unbounded::<u8>();
/// gort::select! {
///     send(sender, "hello") -> result => result.unwrap(),
///     recv(receiver) -> message => println!("{message:?}"),
///     default(Duration::from_millis(5)) => println!("nobody came"),
/// }
/// ```
///
/// The end of a coroutine, or a stop sign:
///
/// ```
/// gort::run(|| {
///     let (_stop, stopped) = gort::channel::bounded::<()>(0);
///     let worker = gort::go!(|| 42);
///     gort::select! {
///         wait(worker) => assert_eq!(worker.join().unwrap(), 42),
///         recv(stopped) -> _ => worker.cancel(),
///     }
/// });
/// ```
///
/// # Scheduling
///
/// Parks the coroutine, or blocks the thread, until a case can be chosen. With `default` it does not wait for that, but for
/// the message of another select that it meets, which has chosen to send here. A point where a coroutine may be cancelled:
/// then no case has had an effect.
#[macro_export]
macro_rules! select {
    ($($tokens:tt)*) => {
        $crate::__select!(@begin false $($tokens)*)
    };
}

/// Waits for the first of several operations, and does it; of several that are possible, the first in the
/// order of writing.
///
/// Otherwise it is [`select!`](crate::select). A case that is always possible keeps those behind it from ever being
/// chosen.
///
/// # Examples
///
/// ```
/// let (urgent, first) = gort::channel::unbounded();
/// let (_sender, second) = gort::channel::unbounded::<&str>();
/// urgent.send("now").unwrap();
/// let message = gort::select_biased! {
///     recv(first) -> message => message,
///     recv(second) -> message => message,
/// };
/// assert_eq!(message, Ok("now"));
/// ```
///
/// # Scheduling
///
/// As [`select!`](crate::select).
#[macro_export]
macro_rules! select_biased {
    ($($tokens:tt)*) => {
        $crate::__select!(@begin true $($tokens)*)
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __select {
    (@begin $biased:literal) => {
        ::std::compile_error!("a select needs at least one case")
    };
    (@begin $biased:literal $($tokens:tt)+) => {
        $crate::__select!(@parse $biased (
            [c0 p0 0] [c1 p1 1] [c2 p2 2] [c3 p3 3] [c4 p4 4] [c5 p5 5] [c6 p6 6] [c7 p7 7] [c8 p8 8] [c9 p9 9]
            [c10 p10 10] [c11 p11 11] [c12 p12 12] [c13 p13 13] [c14 p14 14] [c15 p15 15] [c16 p16 16] [c17 p17 17]
            [c18 p18 18] [c19 p19 19] [c20 p20 20] [c21 p21 21] [c22 p22 22] [c23 p23 23] [c24 p24 24] [c25 p25 25]
            [c26 p26 26] [c27 p27 27] [c28 p28 28] [c29 p29 29] [c30 p30 30] [c31 p31 31] [c32 p32 32] [c33 p33 33]
            [c34 p34 34] [c35 p35 35] [c36 p36 36] [c37 p37 37] [c38 p38 38] [c39 p39 39] [c40 p40 40] [c41 p41 41]
            [c42 p42 42] [c43 p43 43] [c44 p44 44] [c45 p45 45] [c46 p46 46] [c47 p47 47]
        ) () () $($tokens)*)
    };

    // The end of the tokens.
    (@parse $biased:literal $names:tt $cases:tt ()) => {
        $crate::__select!(@expand $biased
            ($crate::__private::select::done()) { $crate::__private::select::none_chosen() } $cases)
    };
    (@parse $biased:literal $names:tt $cases:tt ($until:tt $body:tt)) => {
        $crate::__select!(@expand $biased $until $body $cases)
    };
    // The next case, by how its body ends.
    (@parse $biased:literal $names:tt $cases:tt $default:tt
        $kind:ident $(($($arguments:tt)*))? $(-> $result:pat)? => $body:expr, $($rest:tt)*
    ) => {
        $crate::__select!(@case $biased $names $cases $default
            ($kind $(($($arguments)*))? $(-> $result)?) { $body } $($rest)*)
    };
    (@parse $biased:literal $names:tt $cases:tt $default:tt
        $kind:ident $(($($arguments:tt)*))? $(-> $result:pat)? => $body:block $($rest:tt)*
    ) => {
        $crate::__select!(@case $biased $names $cases $default
            ($kind $(($($arguments)*))? $(-> $result)?) { $body } $($rest)*)
    };
    (@parse $biased:literal $names:tt $cases:tt $default:tt
        $kind:ident $(($($arguments:tt)*))? $(-> $result:pat)? => $body:expr
    ) => {
        $crate::__select!(@case $biased $names $cases $default
            ($kind $(($($arguments)*))? $(-> $result)?) { $body })
    };
    (@parse $biased:literal $names:tt $cases:tt $default:tt $($rest:tt)*) => {
        ::std::compile_error!(::std::concat!(
            "a case of a select is `recv(receiver) -> result => body`, `send(sender, message) -> result => body`, ",
            "`wait(something) => body`, `default => body` or `default(timeout) => body`, and a comma follows \
             unless the body is a block; this is `", ::std::stringify!($($rest)*), "`"
        ))
    };

    // A case in one form, by its kind.
    (@case $biased:literal ([$c:ident $p:ident $n:literal] $($names:tt)*) ($($cases:tt)*) $default:tt
        (recv ($receiver:expr $(,)?) -> $result:pat) $body:tt $($rest:tt)*
    ) => {
        $crate::__select!(@parse $biased ($($names)*)
            ($($cases)* [recv $c $p $n ($receiver) () ($result) $body]) $default $($rest)*)
    };
    (@case $biased:literal ([$c:ident $p:ident $n:literal] $($names:tt)*) ($($cases:tt)*) $default:tt
        (send ($sender:expr, $message:expr $(,)?) -> $result:pat) $body:tt $($rest:tt)*
    ) => {
        $crate::__select!(@parse $biased ($($names)*)
            ($($cases)* [send $c $p $n ($sender) ($message) ($result) $body]) $default $($rest)*)
    };
    (@case $biased:literal ([$c:ident $p:ident $n:literal] $($names:tt)*) ($($cases:tt)*) $default:tt
        (wait ($what:expr $(,)?)) $body:tt $($rest:tt)*
    ) => {
        $crate::__select!(@parse $biased ($($names)*)
            ($($cases)* [wait $c $p $n ($what) () () $body]) $default $($rest)*)
    };
    (@case $biased:literal $names:tt $cases:tt () (default $(())?) $body:tt $($rest:tt)*) => {
        $crate::__select!(@parse $biased $names $cases (($crate::__private::select::now()) $body) $($rest)*)
    };
    (@case $biased:literal $names:tt $cases:tt () (default ($timeout:expr $(,)?)) $body:tt $($rest:tt)*) => {
        $crate::__select!(@parse $biased $names $cases
            (($crate::__private::select::within($timeout)) $body) $($rest)*)
    };
    (@case $biased:literal $names:tt $cases:tt ($($default:tt)+) (default $($how:tt)*) $($rest:tt)*) => {
        ::std::compile_error!("a select has one `default` case at most")
    };
    (@case $biased:literal () $cases:tt $default:tt $($rest:tt)*) => {
        ::std::compile_error!("`select!` takes 48 cases at most; `Select` takes any number")
    };
    (@case $biased:literal $names:tt $cases:tt $default:tt ($($case:tt)*) $($rest:tt)*) => {
        ::std::compile_error!(::std::concat!(
            "a case of a select is `recv(receiver) -> result`, `send(sender, message) -> result`, ",
            "`wait(something)`, `default` or `default(timeout)`; this is `", ::std::stringify!($($case)*), "`"
        ))
    };

    (@expand $biased:literal ($until:expr) $none:tt (
        $([$kind:ident $c:ident $p:ident $n:literal ($handle:expr) $message:tt $result:tt $body:tt])*
    )) => {
        match ($($crate::__private::select::cases::$kind(&$handle),)*) {
            ($($c,)*) => {
                $(#[allow(clippy::let_unit_value)] let mut $p = $c.place();)*
                let selected = $crate::__private::select::choose(&[$($c.case(&mut $p)),*], $until, $biased);
                match selected.index() {
                    $($n => $crate::__select!(@body $kind $c $p selected $message $result $body),)*
                    _ => $none,
                }
            }
        }
    };
    (@body recv $c:ident $p:ident $selected:ident () ($result:pat) $body:tt) => {{
        let $result = $c.finish(&mut $p, $selected);
        $body
    }};
    (@body send $c:ident $p:ident $selected:ident ($message:expr) ($result:pat) $body:tt) => {{
        let $result = $c.finish(&mut $p, $selected).send($message);
        $body
    }};
    (@body wait $c:ident $p:ident $selected:ident () () $body:tt) => {
        $body
    };
}
