//! `GORT_DEBUG`: `key=value` pairs, separated by commas, that force a fallback or a mode.
//!
//! | key | values | default |
//! |---|---|---|
//! | `homes` | `fixed`, `worn` | worn where the CPU and kernel allow it |
//! | `guard` | `mprotect` | what the kernel has |
//! | `adapt` | milliseconds | 3000: the period of `RuntimeBuilder::adapt_procs` |
//! | `machine` | milliseconds | 3000: how often it is asked what the process may use of the machine |
//! | `preempt` | `0` | as built |
//! | `pidfd` | `0` | what the kernel has |
//! | `pwait2` | `0`, `1` | what the kernel has |
//! | `membarrier` | `0`, `1` | what the kernel has |

/// The value of `key`, if `GORT_DEBUG` has it.
pub(crate) fn value(key: &str) -> Option<String> {
    find(&std::env::var("GORT_DEBUG").ok()?, key).map(str::to_owned)
}

fn find<'a>(all: &'a str, key: &str) -> Option<&'a str> {
    all.split(',').filter_map(|pair| pair.split_once('=')).find(|(k, _)| k.trim() == key).map(|(_, v)| v.trim())
}

/// Whether `key=0` was said.
pub(crate) fn is_off(key: &str) -> bool {
    value(key).is_some_and(|value| value == "0")
}

#[cfg(test)]
mod tests {
    #[test]
    fn pairs_are_found() {
        let all = "homes=fixed, guard = mprotect,odd,pwait2=0";
        assert_eq!(super::find(all, "homes"), Some("fixed"));
        assert_eq!(super::find(all, "guard"), Some("mprotect"));
        assert_eq!(super::find(all, "pwait2"), Some("0"));
        assert_eq!(super::find(all, "odd"), None);
    }
}
