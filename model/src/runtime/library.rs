//! Opening ONNX Runtime and asking it for its version.
#![allow(unsafe_code, reason = "a native library is loaded and two of its functions are called")]

use std::ffi::{CStr, c_char, c_void};
use std::mem::ManuallyDrop;
use std::path::Path;

use libloading::Library;

/// Oldest version whose API this program uses (`ort`'s feature `api-24`), as (major, minor).
const NEEDED: (u32, u32) = (1, ort::MINOR_VERSION);

/// `OrtApiBase` in onnxruntime_c_api.h. The functions are never null in a genuine library.
#[repr(C)]
struct ApiBase {
    api: Option<unsafe extern "system" fn(u32) -> *const c_void>,
    version: Option<unsafe extern "system" fn() -> *const c_char>,
}

/// Loads the library for the life of the process, and returns its version if this program can use it.
///
/// # Errors
/// The reason, in words that follow the library's path.
pub(super) fn open(file: &Path) -> Result<String, String> {
    // SAFETY: running the library's initialisation is what is asked for. The caller has checked that the file is a complete
    // library for this machine.
    let library = unsafe { load(file) }.map_err(|error| explain(file, &innermost(&error)))?;
    // Never unloaded: `ort` opens it again, and initialised threads and handlers may outlive an unloaded library.
    let library = ManuallyDrop::new(library);
    // SAFETY: this symbol has had this type in every version of ONNX Runtime.
    let base = unsafe { library.get::<unsafe extern "system" fn() -> *const ApiBase>(b"OrtGetApiBase") };
    let base = base.map_err(|_| "it is not ONNX Runtime: it has no function OrtGetApiBase".to_owned())?;
    // SAFETY: as above; the table is constant and lives as long as the library.
    let base = unsafe { base().as_ref() };
    let no_table = || "it is not ONNX Runtime: its table of functions is empty".to_owned();
    let base = base.ok_or_else(no_table)?;
    let (api, version) = (base.api.ok_or_else(no_table)?, base.version.ok_or_else(no_table)?);
    // SAFETY: the function returns a constant string, or null in a library that is not genuine.
    let version = unsafe { version() };
    let version = if version.is_null() { c"" } else { unsafe { CStr::from_ptr(version) } };
    let version: String = version.to_string_lossy().chars().filter(|c| !c.is_control()).take(40).collect();
    check_version(&version)?;
    // SAFETY: the function returns a table of functions, or null for a version that the library does not know.
    if unsafe { api(ort::MINOR_VERSION) }.is_null() {
        return Err(format!("it is ONNX Runtime {version}, which lacks the functions of {}; {UPDATE}", needed()));
    }
    Ok(version)
}

const UPDATE: &str = "if it comes from Python, `pip install -U onnxruntime` installs another";

fn needed() -> String {
    format!("version {}.{}", NEEDED.0, NEEDED.1)
}

fn check_version(version: &str) -> Result<(), String> {
    let mut parts = version.split('.').map_while(|part| part.parse::<u32>().ok());
    let Some(found) = parts.next().zip(parts.next()) else {
        return Err(format!("it states the version `{version}`, but {} or newer is needed; {UPDATE}", needed()));
    };
    if found.0 != NEEDED.0 || found < NEEDED {
        return Err(format!("it is ONNX Runtime {version}, but {} or a newer 1.x is needed; {UPDATE}", needed()));
    }
    Ok(())
}

/// All symbols are bound now: one that is missing is an error here, and would end the process when it is first called.
///
/// # Safety
/// The library's initialisation runs.
#[cfg(unix)]
unsafe fn load(file: &Path) -> Result<Library, libloading::Error> {
    use libloading::os::unix;
    // SAFETY: the caller's.
    unsafe { unix::Library::open(Some(file), unix::RTLD_NOW | unix::RTLD_LOCAL) }.map(Into::into)
}

/// Libraries that this one needs are looked for beside it and in the system, and not in the working directory.
///
/// # Safety
/// The library's initialisation runs.
#[cfg(windows)]
unsafe fn load(file: &Path) -> Result<Library, libloading::Error> {
    use libloading::os::windows;
    let flags = windows::LOAD_LIBRARY_SEARCH_DLL_LOAD_DIR | windows::LOAD_LIBRARY_SEARCH_DEFAULT_DIRS;
    // SAFETY: the caller's.
    unsafe { windows::Library::load_with_flags(file, flags) }.map(Into::into)
}

/// The message of the system's loader, which `libloading` reports as the cause of its own error.
fn innermost(error: &dyn std::error::Error) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}

/// The loader's message as a sentence: which library is missing, or else its own words.
fn explain(file: &Path, message: &str) -> String {
    let needs = |name: &str| format!("it needs the library {name}, which is not installed");
    let message = message.split_whitespace().collect::<Vec<_>>().join(" ");
    let path = file.display().to_string();
    // glibc
    if let Some((name, _)) = message.split_once(": cannot open shared object file: No such file")
        && name != path
    {
        return needs(name);
    }
    // macOS
    if let Some((_, rest)) = message.split_once("Library not loaded: ") {
        return needs(rest.split(" Referenced from").next().unwrap_or(rest));
    }
    // musl
    if let Some((_, rest)) = message.split_once("Error loading shared library ")
        && let Some((name, _)) = rest.split_once(": No such file")
    {
        return needs(name);
    }
    // Windows names no library (ERROR_MOD_NOT_FOUND, ERROR_PROC_NOT_FOUND).
    if message.ends_with("(os error 126)") || message.ends_with("(os error 127)") {
        return format!(
            "a library that it needs is missing or too old, often Microsoft's Visual C++ runtime ({message})"
        );
    }
    let own_words = message.strip_prefix(&path).map_or(&*message, |rest| rest.trim_start_matches([':', ' ']));
    format!("the system's loader refuses it: {own_words}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_from_1_24_on_are_accepted() {
        for version in ["1.24.0", "1.32.0", "1.40.0-dev", "1.24"] {
            assert_eq!(check_version(version), Ok(()), "{version}");
        }
        for version in ["1.20.1", "1.9.0", "0.99.0", "2.0.0", "not a version", "", "1", "1.x"] {
            let error = check_version(version).unwrap_err();
            assert!(error.contains(version) && error.contains("version 1.24"), "{error}");
            assert!(error.contains("pip install -U onnxruntime"), "{error}");
        }
    }

    #[test]
    fn messages_of_loaders_name_the_missing_library() {
        let file = Path::new("/opt/libonnxruntime.so");
        let needs = "it needs the library libgone.so.12, which is not installed";
        for (message, reason) in [
            ("libgone.so.12: cannot open shared object file: No such file or directory", needs),
            ("Error loading shared library libgone.so.12: No such file or directory (needed by /opt/x.so)", needs),
            (
                "dlopen(/opt/x.dylib, 0x0002): Library not loaded: @rpath/libgone.dylib\n  Referenced from: <1> /opt/x.dylib\n  Reason: tried",
                "it needs the library @rpath/libgone.dylib, which is not installed",
            ),
            (
                "/opt/libonnxruntime.so: undefined symbol: gone",
                "the system's loader refuses it: undefined symbol: gone",
            ),
            (
                "/lib/libm.so.6: version `GLIBC_2.99' not found (required by /opt/libonnxruntime.so)",
                "the system's loader refuses it: /lib/libm.so.6: version `GLIBC_2.99' not found (required by /opt/libonnxruntime.so)",
            ),
        ] {
            assert_eq!(explain(file, message), reason);
        }
        assert!(explain(file, "The specified module could not be found. (os error 126)").contains("Visual C++"));
    }
}
