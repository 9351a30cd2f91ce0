//! Flags of browsers that depend on the computer.

use landfall_common::text::eprint_sanitized;

/// Chromium needs shared memory; with less than this in /dev/shm it crashes on large pages. Docker gives 64 MB.
#[cfg(target_os = "linux")]
const MIN_SHARED_MEMORY: u64 = 256 << 20;

/// Flags that a browser needs because of the user or the system that it runs on.
pub(super) fn flags_of_this_computer() -> Vec<&'static str> {
    let mut flags = Vec::new();
    if is_superuser() {
        static WARNING: std::sync::Once = std::sync::Once::new();
        WARNING.call_once(|| {
            eprint_sanitized(
                "warning: running as root, so Chromium's sandbox is off (--no-sandbox); as another user it is on",
            );
        });
        flags.push("--no-sandbox"); // Chromium refuses to start as root with its sandbox
    }
    if has_little_shared_memory() {
        flags.push("--disable-dev-shm-usage");
    }
    flags
}

#[cfg(unix)]
fn is_superuser() -> bool {
    rustix::process::geteuid().is_root()
}

#[cfg(not(unix))]
fn is_superuser() -> bool {
    false
}

#[cfg(target_os = "linux")]
fn has_little_shared_memory() -> bool {
    rustix::fs::statvfs("/dev/shm")
        .map_or(true, |about| about.f_bavail.saturating_mul(about.f_frsize) < MIN_SHARED_MEMORY)
}

#[cfg(not(target_os = "linux"))]
fn has_little_shared_memory() -> bool {
    false
}
