//! Signals: dispositions, the alternate stack, what the kernel tells a handler.
//!
//! What handlers call is async-signal-safe: no allocation, no lock, no thread-local but `errno`.

use std::io;
use std::mem::MaybeUninit;
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicBool, Ordering};

/// A handler of the `SA_SIGINFO` kind.
pub(crate) type Handler = extern "C" fn(libc::c_int, *mut libc::siginfo_t, *mut libc::c_void);

/// What a process does about one signal: `sigaction(2)`'s structure, by value.
#[derive(Copy, Clone)]
pub(crate) struct Disposition(libc::sigaction);

/// The three kinds of [`Disposition`].
#[derive(Copy, Clone, Debug)]
pub(crate) enum Action {
    /// `SIG_DFL`.
    Default,
    /// `SIG_IGN`.
    Ignore,
    /// A handler that takes the signal number only.
    Plain(extern "C" fn(libc::c_int)),
    /// A handler that also takes the kernel's information (`SA_SIGINFO`).
    Info(Handler),
}

impl Disposition {
    /// `handler`, run on the alternate stack if there is one, with interrupted calls restarted.
    /// While it runs the same signals are blocked as for `earlier`, so it can call that.
    pub(crate) fn handler(handler: Handler, earlier: &Disposition) -> Disposition {
        let mut action = earlier.0;
        action.sa_sigaction = handler as usize;
        action.sa_flags &= libc::SA_NODEFER;
        action.sa_flags |= libc::SA_SIGINFO | libc::SA_ONSTACK | libc::SA_RESTART;
        Disposition(action)
    }

    /// `SIG_DFL`.
    pub(crate) fn default_action() -> Disposition {
        // SAFETY: a sigaction of all zero bits is SIG_DFL (0), no flags, an empty mask.
        Disposition(unsafe { MaybeUninit::zeroed().assume_init() })
    }

    /// What is now done about `signal`.
    pub(crate) fn of(signal: libc::c_int) -> io::Result<Disposition> {
        let mut now = Disposition::default_action();
        // SAFETY: no new action is given, and `now` is a valid sigaction to write to.
        match unsafe { libc::sigaction(signal, ptr::null(), &mut now.0) } {
            0 => Ok(now),
            _ => Err(io::Error::last_os_error()),
        }
    }

    /// Makes this the disposition of `signal`. Async-signal-safe.
    ///
    /// # Safety
    ///
    /// A handler in it is async-signal-safe and may interrupt any code of the process.
    pub(crate) unsafe fn install(&self, signal: libc::c_int) -> io::Result<()> {
        // SAFETY: `self` is a valid sigaction; the caller vouches for the handler in it.
        match unsafe { libc::sigaction(signal, &self.0, ptr::null_mut()) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }

    /// Which of the kinds it is.
    pub(crate) fn action(&self) -> Action {
        match self.0.sa_sigaction {
            libc::SIG_DFL => Action::Default,
            libc::SIG_IGN => Action::Ignore,
            address if self.0.sa_flags & libc::SA_SIGINFO != 0 => {
                // SAFETY: with SA_SIGINFO, whoever installed this promised the kernel a function
                // of this signature at this address.
                Action::Info(unsafe { std::mem::transmute::<usize, Handler>(address) })
            }
            address => {
                // SAFETY: without SA_SIGINFO, whoever installed this promised the kernel a
                // function of this signature at this address.
                Action::Plain(unsafe { std::mem::transmute::<usize, extern "C" fn(libc::c_int)>(address) })
            }
        }
    }

    /// The address of the handler; 0 or 1 if there is none.
    pub(crate) fn address(&self) -> usize {
        self.0.sa_sigaction
    }

    /// The same, run on the alternate stack if there is one, and with other signals blocked: several that come at once would each
    /// put a frame there (3 KiB and more), and std gives the main thread 8 KiB. What the thread itself may raise stays open, so that
    /// it is reported.
    pub(crate) fn on_alternate_stack(mut self) -> Disposition {
        self.0.sa_flags |= libc::SA_ONSTACK;
        let raised = [libc::SIGSEGV, libc::SIGBUS, libc::SIGFPE, libc::SIGILL, libc::SIGTRAP];
        self.0.sa_mask = raised.into_iter().fold(SignalMask::full(), SignalMask::without).0;
        self
    }

    /// Whether the kernel would have reset it before running it (`SA_RESETHAND`).
    pub(crate) fn is_one_shot(&self) -> bool {
        self.0.sa_flags & libc::SA_RESETHAND != 0
    }
}

impl std::fmt::Debug for Disposition {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Disposition").field(&self.action()).finish()
    }
}

/// Whether the kernel raised the signal because of what the thread just did, rather than
/// somebody having sent it. Returning from such a signal does the same thing again.
pub(crate) fn is_synchronous(info: &libc::siginfo_t) -> bool {
    // SI_USER is 0, SI_QUEUE, SI_TKILL and their like are negative, SI_KERNEL is 0x80: a general
    // protection fault, which is synchronous.
    info.si_code > 0
}

/// The address whose access raised SIGSEGV or SIGBUS.
pub(crate) fn fault_address(info: &libc::siginfo_t) -> usize {
    // SAFETY: reads a field of the union; every bit pattern is an address, and callers give it a
    // meaning only for SIGSEGV and SIGBUS.
    unsafe { info.si_addr() }.addr()
}

/// The stack pointer of the interrupted code.
///
/// # Safety
///
/// `context` is the third argument of a running `SA_SIGINFO` handler.
pub(crate) unsafe fn stack_pointer(context: *const libc::c_void) -> usize {
    let context = context.cast::<libc::ucontext_t>();
    // SAFETY: the kernel points a handler at a ucontext that lives until the handler returns.
    #[cfg(target_arch = "x86_64")]
    return unsafe { (*context).uc_mcontext.gregs[libc::REG_RSP as usize] as usize };
    // SAFETY: as above.
    #[cfg(target_arch = "aarch64")]
    return unsafe { (*context).uc_mcontext.sp as usize };
    // On the other CPUs the stack pointer is not looked up: 0 is on no stack of ours, so no fault
    // is taken for an overflow and every one is passed on.
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    {
        let _ = context;
        0
    }
}

/// What a handler has interrupted.
#[derive(Copy, Clone, Debug)]
pub(crate) struct Interrupted {
    /// The instruction.
    pub(crate) at: usize,
    /// The thread was in a system call, or about to make one: the instruction is one that enters the
    /// kernel, or follows one that has just said `EINTR`.
    pub(crate) is_system_call: bool,
}

/// What the running handler has interrupted.
///
/// # Safety
///
/// `context` is the third argument of a running `SA_SIGINFO` handler.
pub(crate) unsafe fn interrupted_code(context: *const libc::c_void) -> Interrupted {
    let context = context.cast::<libc::ucontext_t>();
    // A call that the kernel restarts (SA_RESTART) has the instruction pointer back on the instruction. After one
    // that it does not, what says EINTR is behind the instruction: looked for in the same page only, since what
    // looks like it may be any code at the beginning of a mapping.
    const PAGE: usize = 4096;
    // SAFETY:
    // - the kernel points a handler at a ucontext that lives until the handler returns;
    // - the instruction at the pointer was fetched or is about to be, so all of it is mapped. 0F is no instruction by
    //   itself: if it is the first byte there is a second;
    // - what is before it in its page is mapped too.
    #[cfg(target_arch = "x86_64")]
    unsafe {
        let registers = &(*context).uc_mcontext.gregs;
        let at = registers[libc::REG_RIP as usize] as usize;
        let byte = |at: usize| ptr::with_exposed_provenance::<u8>(at).read_volatile();
        let enters = |at: usize| byte(at) == 0x0F && byte(at + 1) == 0x05;
        let interrupted = registers[libc::REG_RAX as usize] == -i64::from(libc::EINTR);
        Interrupted { at, is_system_call: enters(at) || (interrupted && at % PAGE >= 2 && enters(at - 2)) }
    }
    // SAFETY: as above.
    #[cfg(target_arch = "aarch64")]
    unsafe {
        let registers = &(*context).uc_mcontext;
        let at = registers.pc as usize;
        // Four bytes at a multiple of four, always.
        let enters = |at: usize| ptr::with_exposed_provenance::<u32>(at).read_volatile() == 0xD400_0001;
        let interrupted = registers.regs[0] == -i64::from(libc::EINTR) as u64;
        Interrupted { at, is_system_call: enters(at) || (interrupted && at % PAGE >= 4 && enters(at - 4)) }
    }
    // On the other CPUs a thread that is blocked is suspended like any other, and its call waits for it.
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    {
        let _ = context;
        Interrupted { at: 0, is_system_call: false }
    }
}

/// The number by which the kernel knows the calling thread.
pub(crate) fn thread_id() -> libc::pid_t {
    // SAFETY: no arguments, no failure. Raw, so that no id cached in thread-local storage is used.
    unsafe { libc::syscall(libc::SYS_gettid) as libc::pid_t }
}

/// Sends `signal` to a thread of this process, if it is still there. Async-signal-safe.
pub(crate) fn send_to_thread(thread: libc::pid_t, signal: libc::c_int) {
    // SAFETY: a system call without pointers.
    unsafe { libc::syscall(libc::SYS_tgkill, libc::getpid(), thread, signal) };
}

/// `siginfo_t` of a signal that was queued with a value (`sigqueue(3)`).
#[repr(C)]
#[derive(Default)]
struct Queued {
    signal: libc::c_int,
    errno: libc::c_int,
    code: libc::c_int,
    #[cfg(target_pointer_width = "64")]
    padding: libc::c_int,
    process: libc::pid_t,
    user: libc::uid_t,
    value: usize,
    rest: [u32; REST],
}

const REST: usize = if cfg!(target_pointer_width = "64") { 24 } else { 26 };
const _: () = assert!(size_of::<Queued>() == size_of::<libc::siginfo_t>());

/// Its address is the value of signals that are sent by [`send_marked`].
static MARK: u8 = 0;
/// They cannot be marked: a filter forbids the system call.
static UNMARKED: AtomicBool = AtomicBool::new(false);

/// Sends `signal` to a thread of this process, if it is still there, in such a way that [`sender`] knows it.
pub(crate) fn send_marked(thread: libc::pid_t, signal: libc::c_int) {
    // Relaxed: a filter stays in force.
    if !UNMARKED.load(Ordering::Relaxed) {
        // SAFETY: no arguments, no failure.
        let (process, user) = unsafe { (libc::getpid(), libc::getuid()) };
        let value = (&raw const MARK).addr();
        let info = Queued { signal, code: libc::SI_QUEUE, process, user, value, ..Queued::default() };
        // SAFETY: the kernel reads a siginfo_t.
        let sent = unsafe { libc::syscall(libc::SYS_rt_tgsigqueueinfo, process, thread, signal, &raw const info) };
        // The thread has ended; or there are too many signals in queues: whoever sends this one does so again.
        if sent == 0 || matches!(io::Error::last_os_error().raw_os_error(), Some(libc::ESRCH | libc::EAGAIN)) {
            return;
        }
        UNMARKED.store(true, Ordering::Relaxed);
    }
    send_to_thread(thread, signal);
}

/// Who has sent a signal.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(crate) enum Sender {
    /// [`send_marked`].
    Ours,
    Other,
    /// Either: signals cannot be marked, or the kernel had no memory for what is known of this one.
    Unknown,
}

/// Who has sent the signal of a running handler. Async-signal-safe.
pub(crate) fn sender(info: &libc::siginfo_t) -> Sender {
    // SAFETY: the kernel has filled in what belongs to the code.
    unsafe {
        match info.si_code {
            libc::SI_QUEUE if info.si_value().sival_ptr.addr() == (&raw const MARK).addr() => Sender::Ours,
            // Relaxed: as in `send_marked`.
            libc::SI_TKILL if UNMARKED.load(Ordering::Relaxed) => Sender::Unknown,
            libc::SI_USER if info.si_pid() == 0 => Sender::Unknown,
            _ => Sender::Other,
        }
    }
}

/// Whether a program can be told of `signal`: it is one, can be handled, is not raised by what the interrupted code did, and
/// the C library does not use it for itself (signal(7)).
pub(crate) fn can_be_received(signal: libc::c_int) -> bool {
    const OTHERS: [libc::c_int; 9] = [
        libc::SIGKILL,
        libc::SIGSTOP,
        libc::SIGSEGV,
        libc::SIGBUS,
        libc::SIGILL,
        libc::SIGFPE,
        libc::SIGTRAP,
        libc::SIGSYS,
        libc::SIGABRT,
    ];
    let is_a_signal = (1..32).contains(&signal) || (libc::SIGRTMIN()..=libc::SIGRTMAX()).contains(&signal);
    is_a_signal && !OTHERS.contains(&signal)
}

/// Whether a library may make `signal` its own: [`can_be_received`], and it does not stop the process or make it go on.
pub(crate) fn can_be_taken(signal: libc::c_int) -> bool {
    const JOB_CONTROL: [libc::c_int; 4] = [libc::SIGTSTP, libc::SIGTTIN, libc::SIGTTOU, libc::SIGCONT];
    can_be_received(signal) && !JOB_CONTROL.contains(&signal)
}

/// Whether the kernel does nothing about `signal` if the process has not said otherwise. Async-signal-safe.
pub(crate) fn is_ignored_by_default(signal: libc::c_int) -> bool {
    matches!(signal, libc::SIGURG | libc::SIGWINCH | libc::SIGCHLD | libc::SIGCONT)
}

/// Does what the kernel would do about `signal` if nobody had said otherwise. Called by its handler, of which `handled` is the
/// disposition; returns if that is nothing, or when the process was stopped and goes on. Async-signal-safe.
pub(crate) fn do_by_default(signal: libc::c_int, handled: &Disposition) {
    if is_ignored_by_default(signal) {
        return;
    }
    // SAFETY: no handler.
    let _ = unsafe { Disposition::default_action().install(signal) };
    raise(signal);
    // It is blocked while its handler runs, so it has waited until here.
    let mask = SignalMask::of_thread();
    mask.without(signal).install();
    // It was one that stops the process, which goes on.
    mask.install();
    // SAFETY: the handler was in force before.
    let _ = unsafe { handled.install(signal) };
}

/// Sends `signal` to the calling thread. Async-signal-safe.
pub(crate) fn raise(signal: libc::c_int) {
    send_to_thread(thread_id(), signal);
}

/// Writes all of `bytes` to the standard error, as far as it takes them. Async-signal-safe.
pub(crate) fn write_stderr(mut bytes: &[u8]) {
    while !bytes.is_empty() {
        // SAFETY: `bytes` is initialised memory of that length.
        match unsafe { libc::write(libc::STDERR_FILENO, bytes.as_ptr().cast(), bytes.len()) } {
            n @ 1.. => bytes = &bytes[n as usize..],
            _ if io::Error::last_os_error().kind() == io::ErrorKind::Interrupted => {}
            _ => return,
        }
    }
}

/// Ends the process by SIGABRT. Async-signal-safe.
pub(crate) fn abort() -> ! {
    // SAFETY: abort has no preconditions.
    unsafe { libc::abort() }
}

/// Which signals a thread has blocked.
#[derive(Clone, Copy)]
pub(crate) struct SignalMask(libc::sigset_t);

impl SignalMask {
    /// That of the calling thread.
    pub(crate) fn of_thread() -> SignalMask {
        // SAFETY: plain data that the call fills in.
        unsafe {
            let mut mask: libc::sigset_t = std::mem::zeroed();
            libc::pthread_sigmask(libc::SIG_SETMASK, ptr::null(), &mut mask);
            SignalMask(mask)
        }
    }

    /// All of them; glibc keeps its own two open.
    fn full() -> SignalMask {
        // SAFETY: plain data that the call fills in.
        unsafe {
            let mut mask: libc::sigset_t = std::mem::zeroed();
            libc::sigfillset(&mut mask);
            SignalMask(mask)
        }
    }

    /// Without `signal`.
    pub(crate) fn without(mut self, signal: libc::c_int) -> SignalMask {
        // SAFETY: a valid set; a number that is no signal is refused.
        unsafe { libc::sigdelset(&mut self.0, signal) };
        self
    }

    /// Puts it in force on the calling thread.
    pub(crate) fn install(&self) {
        // SAFETY: a valid set, which is only read.
        unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &self.0, ptr::null_mut()) };
    }
}

impl std::fmt::Debug for SignalMask {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SignalMask").finish_non_exhaustive()
    }
}

/// All signals blocked on the calling thread, until dropped: for starting a thread that is
/// never to run a handler.
#[derive(Debug)]
pub(crate) struct SignalsBlocked(SignalMask);

impl SignalsBlocked {
    pub(crate) fn new() -> SignalsBlocked {
        let before = SignalMask::of_thread();
        SignalMask::full().install();
        SignalsBlocked(before)
    }
}

impl Drop for SignalsBlocked {
    fn drop(&mut self) {
        self.0.install();
    }
}

/// How large an alternate stack must be for the kernel to put a frame on it.
///
/// `MINSIGSTKSZ` (2 KiB) is older than AVX-512, whose registers alone are larger.
pub(crate) fn minimum_stack_bytes() -> usize {
    // SAFETY: getauxval only reads the auxiliary vector; 0 means that the kernel did not say.
    let bytes = unsafe { libc::getauxval(libc::AT_MINSIGSTKSZ) } as usize;
    bytes.max(libc::MINSIGSTKSZ)
}

/// What `sigaltstack(2)` knew before a new stack was installed.
#[derive(Debug)]
pub(crate) struct PreviousStack(libc::stack_t);

/// Makes `bytes` at `base` the calling thread's alternate signal stack.
///
/// # Safety
///
/// The memory is writable and used for nothing else until [`restore_alternate_stack`] has
/// succeeded on this thread.
pub(crate) unsafe fn set_alternate_stack(base: NonNull<u8>, bytes: usize) -> io::Result<PreviousStack> {
    let new = libc::stack_t { ss_sp: base.as_ptr().cast(), ss_flags: 0, ss_size: bytes };
    let mut old = libc::stack_t { ss_sp: ptr::null_mut(), ss_flags: libc::SS_DISABLE, ss_size: 0 };
    // SAFETY: both are valid stack_t; the caller dedicates the memory to this.
    match unsafe { libc::sigaltstack(&new, &mut old) } {
        0 => Ok(PreviousStack(old)),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Reinstalls what [`set_alternate_stack`] found, on the thread where it found it.
///
/// # Safety
///
/// Same thread, and the earlier stack (if there was one) is still mapped.
pub(crate) unsafe fn restore_alternate_stack(previous: &PreviousStack) -> io::Result<()> {
    // SAFETY: a stack_t that the kernel itself filled in for this thread.
    match unsafe { libc::sigaltstack(&previous.0, ptr::null_mut()) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Keeps `errno` as the interrupted code left it, whatever a handler calls.
#[derive(Debug)]
pub(crate) struct SavedErrno(libc::c_int);

impl SavedErrno {
    /// Reads `errno`; dropping the value writes it back.
    pub(crate) fn new() -> SavedErrno {
        // SAFETY: the address of this thread's errno is always valid.
        SavedErrno(unsafe { *libc::__errno_location() })
    }
}

impl Drop for SavedErrno {
    fn drop(&mut self) {
        // SAFETY: as in `new`; the address is looked up again, not kept.
        unsafe { *libc::__errno_location() = self.0 };
    }
}
