//! What this process has used of the machine, as Linux tells it in `/proc/self`. Elsewhere the numbers are zero.

use std::time::Duration;

/// The kernel counts processor time in hundredths of a second on every platform that it runs on (USER_HZ).
const TICKS_PER_SECOND: u64 = 100;

/// User and system time of all threads since the process began.
pub(crate) fn processor_time() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    Duration::from_millis(ticks(&stat) * 1000 / TICKS_PER_SECOND)
}

/// The largest resident size so far, in MiB.
pub(crate) fn peak_memory_mib() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    peak_kib(&status) as f64 / 1024.0
}

/// Fields 14 and 15. The second field is the program's name in brackets and may hold anything, so counting starts behind its last bracket.
fn ticks(stat: &str) -> u64 {
    let behind_name = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    behind_name
        .split_whitespace()
        .skip(11)
        .take(2)
        .filter_map(|field| field.parse::<u64>().ok())
        .sum()
}

fn peak_kib(status: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.split_whitespace().next())
        .and_then(|number| number.parse().ok())
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_s_lines_are_understood() {
        let stat = "17 (a) b) S 1 1 1 0 -1 4194560 100 0 0 0 250 50 0 0 20 0 4 0 999 1 1 1";
        assert_eq!(ticks(stat), 300);
        assert_eq!(peak_kib("VmPeak:\t 9 kB\nVmHWM:\t  20480 kB\n"), 20_480);
        assert_eq!((ticks("nonsense"), peak_kib("")), (0, 0));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn this_process_uses_memory() {
        assert!(peak_memory_mib() > 0.5);
    }
}
