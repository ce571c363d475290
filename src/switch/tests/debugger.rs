//! gdb finds its way: from inside a flow, and at every single instruction of a switch.
//!
//! The test starts itself as a child under gdb in batch mode and reads what gdb prints.

#![cfg(all(gort_context = "asm", not(miri)))]

use super::*;
use std::process::Command;

/// Where gdb stops.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn gort_context_test_stop() {
    std::hint::black_box(());
}

/// The program under gdb.
#[test]
#[ignore = "run by the other tests of this file"]
fn debuggee() {
    let pair = Owner::new(|pair| {
        for _ in 0..2 {
            gort_context_test_stop();
            hop(pair);
        }
    });
    gort_context_test_stop();
    while !pair.ended() {
        pair.resume();
    }
}

/// What gdb prints for `commands` once the program has stopped, on the thread's own
/// stack and about to start the flow; None if there is
/// no gdb or it may not trace.
fn gdb(commands: &[String]) -> Option<String> {
    let program = std::env::current_exe().expect("a test knows its program");
    let mut gdb = Command::new("gdb");
    gdb.args(["-nx", "-batch", "-ex", "set confirm off", "-ex", "set breakpoint pending on"]);
    gdb.args(["-ex", "break gort_context_test_stop", "-ex", "run", "-ex", "echo STOPPED\\n"]);
    for command in commands {
        gdb.args(["-ex", command]);
    }
    gdb.args(["-ex", "kill", "--args"]).arg(program);
    gdb.args(["--exact", "switch::tests::debugger::debuggee", "--ignored", "--test-threads=1"]);
    let output = match gdb.output() {
        Ok(output) => output,
        Err(error) => {
            println!("skipped: gdb: {error}");
            return None;
        }
    };
    let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    if !text.contains("Breakpoint 1, ") {
        println!("skipped: gdb did not reach the breakpoint:\n{text}");
        return None;
    }
    Some(text)
}

/// How gdb says that it lost its way.
fn lost(text: &str) -> bool {
    ["corrupt", "Backtrace stopped", "Cannot access memory", "previous frame"].iter().any(|sign| text.contains(sign))
}

#[test]
fn a_debugger_ends_at_the_entry() {
    let Some(text) = gdb(&["continue".into(), "echo INSIDE\\n".into(), "bt".into()]) else { return };
    let trace = text.split("INSIDE\n").nth(1).expect("the mark was printed");
    assert!(!lost(trace), "{text}");
    assert!(trace.contains("run_body") && trace.contains("gort_base"), "{text}");
    assert!(!trace.contains("tests::resume"), "{text}");
}

#[test]
fn a_debugger_finds_its_way_at_every_instruction() {
    // Through the first switch, which starts the flow, and the one that comes back.
    const STEPS: usize = 400;
    let mut commands = vec![];
    for _ in 0..STEPS {
        commands.push("stepi".into());
        commands.push("echo \\nTRACE\\n".into());
        commands.push("bt".into());
        commands.push("echo \\nEND\\n".into());
    }
    let Some(text) = gdb(&commands) else { return };
    let traces: Vec<&str> =
        text.split("TRACE\n").skip(1).map(|rest| rest.split("END\n").next().unwrap_or_default()).collect();
    assert_eq!(traces.len(), STEPS, "{text}");
    let mut in_flow = 0;
    for trace in &traces {
        assert!(!lost(trace), "{trace}");
        // A flow that dies has no caller, until the one that goes on has taken over.
        if trace.lines().next().is_some_and(|first| first.contains("gort_switch_away")) && !trace.contains("#1") {
            continue;
        }
        // Every other walk ends in the flow's base or in the thread's.
        let flow = trace.contains("gort_base");
        let root = ["start_thread", "clone", "__libc_start"].iter().any(|base| trace.contains(base));
        assert!(flow != root, "neither the flow's nor the thread's stack to its end:\n{trace}");
        in_flow += usize::from(flow);
    }
    assert!(in_flow > 10 && in_flow < STEPS, "the steps did not cross a switch: {in_flow}");
}
