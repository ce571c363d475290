//! What kills a process or exhausts its limits: done by a child, judged by its parent.
//!
//! The child is this test program again, told by a variable which part to play.

use super::super::{Cache, Class, Guard, Pool, Stack, limits, overflow};
use std::fmt::Write as _;
use std::hint::black_box;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Output};
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicBool, Ordering};

const PART: &str = "GORT_STACK_TEST_PART";

/// Runs `part` in a child.
fn play(part: &str) -> Output {
    Command::new(std::env::current_exe().expect("a path"))
        .args(["--exact", "stack::tests::children::child", "--nocapture", "--test-threads=1"])
        .env(PART, part)
        .output()
        .expect("a child")
}

/// The child's side: does nothing in the parent.
#[test]
fn child() {
    let Ok(part) = std::env::var(PART) else {
        return;
    };
    match part.as_str() {
        "overflow madvise" => overflow_in_small_steps(Guard::detect()),
        "overflow mprotect" => overflow_in_small_steps(Guard::Mprotect),
        "overflow large frame" => overflow_in_one_step(),
        "overflow locked" => overflow_in_locked_memory(),
        "stray default" => stray(None),
        "stray handled" => stray(Some((info_handler as *const () as usize, libc::SA_SIGINFO))),
        "stray plain" => stray(Some((plain_handler as *const () as usize, 0))),
        "stray ignored" => stray(Some((libc::SIG_IGN, 0))),
        "stray once" => stray(Some((harmless_handler as *const () as usize, libc::SA_RESETHAND))),
        "stray guard" => stray_guard(),
        "sent default" => sent(libc::SIG_DFL),
        "sent ignored" => sent(libc::SIG_IGN),
        "address space" => run_out(libc::RLIMIT_AS),
        "data" => run_out(libc::RLIMIT_DATA),
        "heap" => run_out_of_heap(),
        "map count" => run_out_of_mappings(),
        "alternate stack" => alternate_stack_is_restored(),
        other => panic!("no part called {other}"),
    }
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

const REPORT: &str = "\
gort: stack overflow in coroutine 17 \"deep\", spawned at src/main.rs:10:5
gort: its stack is 64 KiB (limit); give it more with Builder::stack_size or \
Runtime::builder().stack_size
";

#[test]
fn an_overflow_is_reported() {
    for part in ["overflow madvise", "overflow mprotect", "overflow locked"] {
        let output = play(part);
        assert_eq!(output.status.signal(), Some(libc::SIGABRT), "{part}: {output:?}");
        assert!(stderr(&output).contains(REPORT), "{part}: {output:?}");
    }
}

#[test]
fn an_overflow_by_one_large_frame_is_reported() {
    let output = play("overflow large frame");
    assert_eq!(output.status.signal(), Some(libc::SIGABRT), "{output:?}");
    let text = stderr(&output);
    assert!(text.contains("gort: stack overflow in unknown coroutine\n"), "{output:?}");
    assert!(text.contains("gort: its stack is 1 MiB (limit)"), "{output:?}");
}

#[test]
fn other_faults_are_passed_on() {
    for (part, signal) in [
        ("stray default", Some(libc::SIGSEGV)),
        ("stray ignored", Some(libc::SIGSEGV)),
        ("stray once", Some(libc::SIGSEGV)),
        ("stray guard", Some(libc::SIGSEGV)),
        ("sent default", Some(libc::SIGSEGV)),
        ("sent ignored", None),
        ("stray handled", None),
        ("stray plain", None),
    ] {
        let output = play(part);
        assert_eq!(output.status.signal(), signal, "{part}: {output:?}");
        assert!(!stderr(&output).contains("gort:"), "{part}: {output:?}");
        let code = match part {
            "stray handled" => Some(41),
            "stray plain" => Some(42),
            "sent ignored" => Some(0),
            _ => None,
        };
        assert_eq!(output.status.code(), code, "{part}: {output:?}");
        assert_eq!(stderr(&output).matches("harmless").count(), usize::from(part == "stray once"));
    }
}

#[test]
fn errors_name_the_limit() {
    for (part, texts) in [
        ("address space", ["RLIMIT_AS, the limit on address space, is", "ulimit -v"]),
        ("data", ["RLIMIT_DATA, the limit on private memory, is", "ulimit -d"]),
        ("heap", ["gort: no memory for a block: RLIMIT_AS, the limit on address space, is", "ulimit -v"]),
        ("map count", ["vm.max_map_count is", "sysctl -w vm.max_map_count="]),
    ] {
        let output = play(part);
        assert!(output.status.success(), "{part}: {output:?}");
        let text = stderr(&output);
        assert!(text.contains("skipped") || texts.iter().all(|wanted| text.contains(wanted)), "{part}: {text}");
    }
}

#[test]
fn an_alternate_stack_is_restored() {
    let output = play("alternate stack");
    assert!(output.status.success(), "{output:?}");
}

/// Calls `function` on `stack`.
fn call_on(stack: &Stack, function: extern "C" fn()) {
    // SAFETY:
    // - the stack is owned, so nothing else is on it, and its top is aligned for a call;
    // - the old stack pointer is kept in a register that `function` must preserve, and every
    //   register that it need not preserve is declared as clobbered;
    // - nothing unwinds out of an `extern "C"` function.
    #[cfg(target_arch = "x86_64")]
    unsafe {
        std::arch::asm!(
            "mov r12, rsp", "mov rsp, rdi", "call rsi", "mov rsp, r12",
            in("rdi") stack.top().as_ptr(), in("rsi") function,
            out("r12") _, clobber_abi("C"),
        );
    }
    // SAFETY: as above.
    #[cfg(target_arch = "aarch64")]
    unsafe {
        std::arch::asm!(
            "mov x20, sp", "mov sp, x0", "blr x1", "mov sp, x20",
            in("x0") stack.top().as_ptr(), in("x1") function,
            out("x20") _, clobber_abi("C"),
        );
    }
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    {
        let _ = (stack, function);
        unimplemented!("this CPU's faults are not looked into, see os::signal::stack_pointer");
    }
}

fn prepare() -> overflow::AltStack {
    overflow::install().expect("handlers");
    overflow::install().expect("a second call does nothing");
    overflow::AltStack::new().expect("an alternate stack")
}

fn stack_of(bytes: usize, guard: Guard) -> Stack {
    let pool = Box::leak(Box::new(Pool::new(guard)));
    let class = Class::of(bytes).expect("a class");
    Cache::new().get(pool, class).expect("a stack")
}

fn describe(out: &mut overflow::SafeWriter) {
    let (id, name, line) = (17, "deep", 10);
    let _ = write!(out, "coroutine {id} {name:?}, spawned at src/main.rs:{line}:5");
}

#[expect(unconditional_recursion, reason = "it is meant to overflow")]
#[inline(never)]
fn recurse(depth: usize) -> usize {
    let frame = black_box([depth; 32]);
    recurse(depth + 1) + black_box(frame)[depth % 32]
}

extern "C" fn small_steps() {
    black_box(recurse(0));
}

extern "C" fn one_step() {
    black_box([1u8; 8 << 20]);
}

fn overflow_in_small_steps(guard: Guard) {
    let _alternate = prepare();
    overflow::set_describe(describe);
    call_on(&stack_of(64 << 10, guard), small_steps);
}

fn overflow_in_one_step() {
    let _alternate = prepare();
    call_on(&stack_of(1 << 20, Guard::detect()), one_step);
}

fn overflow_in_locked_memory() {
    // SAFETY: takes no pointers. Where it is not allowed, the test is the unlocked one.
    unsafe { libc::mlockall(libc::MCL_CURRENT | libc::MCL_FUTURE) };
    overflow_in_small_steps(Guard::detect());
}

extern "C" fn info_handler(signal: libc::c_int, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
    // SAFETY: called as a handler, with the kernel's pointers.
    let address = unsafe { (*info).si_addr() }.addr();
    let right = signal == libc::SIGSEGV && address == 0x10 && !context.is_null();
    // SAFETY: ends the process.
    unsafe { libc::_exit(if right { 41 } else { 1 }) }
}

extern "C" fn plain_handler(signal: libc::c_int) {
    // SAFETY: ends the process.
    unsafe { libc::_exit(if signal == libc::SIGSEGV { 42 } else { 1 }) }
}

extern "C" fn harmless_handler(_: libc::c_int) {
    static CALLED: AtomicBool = AtomicBool::new(false);
    crate::os::signal::write_stderr(b"harmless\n");
    if CALLED.swap(true, Ordering::Relaxed) {
        // SAFETY: ends the process, which would otherwise fault for ever.
        unsafe { libc::_exit(1) }
    }
}

fn set_handler(handler: libc::sighandler_t, flags: libc::c_int) {
    // SAFETY: zero is a valid sigaction; the handlers above match their flags.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = handler;
        action.sa_flags = flags;
        assert_eq!(libc::sigaction(libc::SIGSEGV, &action, ptr::null_mut()), 0);
    }
}

extern "C" fn read_stray_pointer() {
    // SAFETY: it is not; the fault is the point.
    unsafe { ptr::without_provenance::<u8>(0x10).read_volatile() };
}

/// A fault that is no overflow, from a coroutine's stack. Without `earlier`, what handled it
/// before is std.
fn stray(earlier: Option<(libc::sighandler_t, libc::c_int)>) {
    if let Some((handler, flags)) = earlier {
        set_handler(handler, flags);
    }
    let _alternate = prepare();
    call_on(&stack_of(64 << 10, Guard::detect()), read_stray_pointer);
}

/// A stray pointer into the guard of a stack that the thread is not on.
fn stray_guard() {
    let _alternate = prepare();
    let stack = stack_of(64 << 10, Guard::detect());
    // SAFETY: it is not; the fault is the point.
    unsafe { stack.limit().as_ptr().wrapping_sub(8).read_volatile() };
}

fn sent(earlier: libc::sighandler_t) {
    set_handler(earlier, 0);
    let _alternate = prepare();
    crate::os::signal::raise(libc::SIGSEGV);
    crate::os::signal::raise(libc::SIGSEGV);
}

fn run_out(resource: libc::__rlimit_resource_t) {
    let limit = libc::rlimit { rlim_cur: 2 << 30, rlim_max: 2 << 30 };
    // SAFETY: a valid rlimit.
    assert_eq!(unsafe { libc::setrlimit(resource, &limit) }, 0);
    let class = Class::of(16 << 20).expect("a class");
    let pool = Pool::new(Guard::detect());
    let mut cache = Cache::new();
    let mut stacks = Vec::new();
    let error = loop {
        assert!(stacks.len() < 128, "more than the limit allows");
        match cache.get(&pool, class) {
            Ok(stack) => stacks.push(stack),
            Err(error) => break error,
        }
    };
    assert_eq!(error.kind(), std::io::ErrorKind::OutOfMemory);
    eprintln!("{error}");
    assert!(stacks.len() > 100, "{} stacks", stacks.len());
    // Stacks of the next class down still fit in what is left, and all can be given back.
    cache.get(&pool, Class::from_index(0)).map(|stack| cache.put(&pool, stack)).expect("a stack");
    let count = stacks.len();
    stacks.into_iter().for_each(|stack| cache.put(&pool, stack));
    let again: Vec<_> = (0..count).map(|_| cache.get(&pool, class).expect("a stack")).collect();
    again.into_iter().for_each(|stack| cache.put(&pool, stack));
    cache.drain(&pool);
    assert_eq!(pool.metrics().taken, 0);
}

fn run_out_of_heap() {
    let limit = libc::rlimit { rlim_cur: 2 << 30, rlim_max: 2 << 30 };
    // SAFETY: a valid rlimit.
    assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_AS, &limit) }, 0);
    let mut blocks: Vec<Vec<u8>> = Vec::with_capacity(1 << 16);
    for size in [16 << 20, 64 << 10] {
        loop {
            let mut block = Vec::new();
            if block.try_reserve_exact(size).is_err() {
                break;
            }
            blocks.push(block);
        }
    }
    let error = limits::out_of_memory("a block", 64 << 10);
    assert_eq!(error.kind(), std::io::ErrorKind::OutOfMemory);
    eprintln!("{error}");
}

fn run_out_of_mappings() {
    let limit = std::fs::read_to_string("/proc/sys/vm/max_map_count").expect("a limit");
    let limit: usize = limit.trim().parse().expect("a number");
    if limit > 100_000 {
        eprintln!("skipped: {limit} mappings take too long");
        return;
    }
    let pool = Pool::new(Guard::Mprotect);
    let mut cache = Cache::new();
    let mut stacks = Vec::with_capacity(limit);
    let error = loop {
        match cache.get(&pool, Class::DEFAULT) {
            Ok(stack) => stacks.push(stack),
            Err(error) => break error,
        }
    };
    // A guard takes two mappings. Without room for one, std could not start a thread either, so
    // nothing below may need it.
    assert_eq!(error.kind(), std::io::ErrorKind::OutOfMemory);
    assert!(stacks.len() > limit / 2 - 200, "{} stacks", stacks.len());
    eprintln!("{error}");
    // Still an error, not a stack without a guard; and one that comes back can be had again.
    assert!(cache.get(&pool, Class::DEFAULT).is_err());
    let stack = stacks.pop().expect("many");
    let top: NonNull<u8> = stack.top();
    cache.put(&pool, stack);
    assert_eq!(cache.get(&pool, Class::DEFAULT).map(|stack| stack.top()).ok(), Some(top));
    eprintln!("{} stacks", stacks.len());
    std::process::exit(0);
}

fn alternate_stack() -> (usize, usize) {
    let mut stack = libc::stack_t { ss_sp: ptr::null_mut(), ss_flags: 0, ss_size: 0 };
    // SAFETY: only asks.
    assert_eq!(unsafe { libc::sigaltstack(ptr::null(), &mut stack) }, 0);
    (stack.ss_sp.addr(), stack.ss_size)
}

fn alternate_stack_is_restored() {
    let before = alternate_stack();
    let new = overflow::AltStack::new().expect("an alternate stack");
    let during = alternate_stack();
    assert_ne!(before, during);
    assert!(during.1 > 64 << 10);
    drop(new);
    assert_eq!(alternate_stack(), before);
}
