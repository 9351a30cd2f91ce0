//! Checks a file before it is loaded as a library.
//!
//! The system's loader trusts what it maps: a library that is cut off ends the process with SIGBUS on Linux. And its words
//! for files that are no libraries ("invalid ELF header") do not say what they are instead.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

use super::LIBRARY;

/// Bytes of a file that decide what it is.
const HEAD: u64 = 4096;

/// Checks that the file is a complete library for this system and processor.
///
/// # Errors
/// The reason, in words that follow the file's path.
pub(super) fn check(file: &Path) -> Result<(), String> {
    let cannot_read = |error: io::Error| format!("it cannot be read: {error}");
    let metadata = match file.metadata() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(what_is_missing(file)),
        other => other.map_err(cannot_read)?,
    };
    if metadata.is_dir() {
        return Err(format!("it is a directory; name the file {LIBRARY} in it"));
    }
    if !metadata.is_file() {
        return Err("it is not a regular file".to_owned()); // opening a pipe would wait for its other end
    }
    let mut opened = File::open(file).map_err(cannot_read)?;
    let mut head = Vec::new();
    (&mut opened).take(HEAD).read_to_end(&mut head).map_err(cannot_read)?;
    check_head(&head, std::env::consts::OS, std::env::consts::ARCH)?;
    if head.starts_with(ELF) {
        check_length(&head, &mut opened, metadata.len()).map_err(cannot_read)??;
    }
    Ok(())
}

fn what_is_missing(file: &Path) -> String {
    match fs::read_link(file) {
        Ok(target) => format!("it is a link to {}, which does not exist", target.display()),
        Err(_) => "there is no such file".to_owned(),
    }
}

const ELF: &[u8] = b"\x7fELF";

/// What the first bytes of a file say it is.
enum Format {
    /// Linux and most other Unix systems: whether it is a shared library, its processor.
    Elf { is_library: bool, machine: String },
    /// macOS: the processors.
    MachO(Vec<String>),
    /// Windows: the processor.
    Pe(String),
    /// In words.
    Other(&'static str),
}

/// Checks that the file is a library for this system and processor, both in Rust's names.
fn check_head(head: &[u8], os: &str, arch: &str) -> Result<(), String> {
    let format = format_of(head).unwrap_or(Format::Other("not a library, or cut off"));
    let (system, machines) = match format {
        Format::Elf { is_library: false, .. } => return Err("it is not a shared library".to_owned()),
        Format::Elf { machine, .. } => ("Linux", vec![machine]),
        Format::MachO(machines) => ("macOS", machines),
        Format::Pe(machine) => ("Windows", vec![machine]),
        Format::Other(what) => return Err(format!("it is {what}")),
    };
    let native = match os {
        "macos" | "ios" => "macOS",
        "windows" => "Windows",
        _ => "Linux",
    };
    if system != native {
        return Err(format!("it is a library for {system}, and this system is {os}"));
    }
    if !machines.iter().any(|machine| machine == arch) {
        let machines = machines.join(" and ");
        return Err(format!("it is built for {machines} processors, and this program for {arch}"));
    }
    Ok(())
}

/// `None` if the header of a library ends too early.
fn format_of(head: &[u8]) -> Option<Format> {
    const OTHERS: [(&[u8], &str); 5] = [
        (b"version https://git-lfs.github.com/", "a Git LFS pointer; `git lfs pull` fetches the library itself"),
        (b"PK\x03\x04", "a ZIP archive or Python wheel; unpack it and name the library in it"),
        (b"\x1f\x8b", "a compressed archive; unpack it and name the library in it"),
        (b"!<arch>\n", "a static library or a Debian package, not a shared library"),
        (b"<", "a web page, not a library"),
    ];
    if head.is_empty() {
        return Some(Format::Other("an empty file"));
    }
    if let Some((_, what)) = OTHERS.iter().find(|(magic, _)| head.starts_with(magic)) {
        return Some(Format::Other(what));
    }
    if head.starts_with(ELF) {
        let number: fn(&[u8], usize) -> Option<u16> = if *head.get(5)? == 2 { be16 } else { le16 };
        let is_library = number(head, 16)? == 3; // ET_DYN
        return Some(Format::Elf { is_library, machine: name_of(&ELF_MACHINES, number(head, 18)?.into()) });
    }
    match head.get(..4)? {
        [0xcf | 0xce, 0xfa, 0xed, 0xfe] => Some(Format::MachO(vec![name_of(&MACH_MACHINES, le32(head, 4)?)])),
        // Several processors in one file. Java classes begin with the same number, and go on with one of at least 45.
        [0xca, 0xfe, 0xba, 0xbe | 0xbf] if be32(head, 4)? < 40 => {
            let size = if head[3] == 0xbe { 20 } else { 32 };
            let starts = (8..).step_by(size).take(be32(head, 4)? as usize);
            let machines = starts.map(|at| Some(name_of(&MACH_MACHINES, be32(head, at)?)));
            Some(Format::MachO(machines.collect::<Option<_>>()?))
        }
        [b'M', b'Z', ..] => {
            let header = head.get(le32(head, 0x3c)? as usize..)?;
            let machine = header.starts_with(b"PE\0\0").then(|| le16(header, 4));
            machine.map_or(Some(Format::Other("a DOS program")), |number| {
                Some(Format::Pe(name_of(&PE_MACHINES, number?.into())))
            })
        }
        _ if head.contains(&0) => Some(Format::Other("not a library")),
        _ => Some(Format::Other("a text or another file, not a library")),
    }
}

const ELF_MACHINES: [(u32, &str); 8] = [
    (3, "x86"),
    (20, "powerpc"),
    (21, "powerpc64"),
    (22, "s390x"),
    (40, "arm"),
    (62, "x86_64"),
    (183, "aarch64"),
    (243, "riscv64"),
];
const MACH_MACHINES: [(u32, &str); 4] = [(7, "x86"), (0x0100_0007, "x86_64"), (12, "arm"), (0x0100_000c, "aarch64")];
const PE_MACHINES: [(u32, &str); 4] = [(0x14c, "x86"), (0x8664, "x86_64"), (0x1c4, "arm"), (0xaa64, "aarch64")];

/// Rust's name of a processor, or its number.
fn name_of(names: &[(u32, &str)], number: u32) -> String {
    let name = names.iter().find(|(known, _)| *known == number);
    name.map_or_else(|| format!("other ({number:#x})"), |(_, name)| (*name).to_owned())
}

/// Checks that a 64-bit little-endian ELF file is as long as its tables say, and that the last of them is there: a download
/// that stopped may leave zeros. The outer error is one of reading.
fn check_length(head: &[u8], file: &mut File, length: u64) -> io::Result<Result<(), String>> {
    const PROGRAM_HEADER: usize = 56;
    if head.get(4..6) != Some(&[2, 1]) {
        return Ok(Ok(())); // the loader of another processor than today's reports what it finds
    }
    let cut_off = |needed: u64| Err(format!("it is cut off: {length} bytes of at least {needed}"));
    let table = |at: usize, sizes_at: usize| {
        let (size, count) = (le16(head, sizes_at)?, le16(head, sizes_at + 2)?);
        Some((le64(head, at)?, size, u64::from(size) * u64::from(count)))
    };
    let Some(((start, size, bytes), (sections, section_size, section_bytes))) = table(32, 54).zip(table(40, 58)) else {
        return Ok(cut_off(64));
    };
    let mut needed = start.saturating_add(bytes).max(sections.saturating_add(section_bytes));
    if needed <= length && usize::from(size) == PROGRAM_HEADER {
        file.seek(SeekFrom::Start(start))?;
        let mut headers = vec![0; bytes as usize]; // at most 65,535 headers
        file.read_exact(&mut headers)?;
        for header in headers.chunks_exact(PROGRAM_HEADER) {
            if let Some((offset, bytes)) = le64(header, 8).zip(le64(header, 32)) {
                needed = needed.max(offset.saturating_add(bytes));
            }
        }
    }
    if needed > length {
        return Ok(cut_off(needed));
    }
    // The section of names; the table of sections is at the end of the file.
    if let Some(index) = le16(head, 62).filter(|_| section_bytes > 0) {
        let mut kind = [0; 4];
        file.seek(SeekFrom::Start(sections + u64::from(index) * u64::from(section_size) + 4))?;
        if file.read_exact(&mut kind).is_err() || u32::from_le_bytes(kind) != 3 {
            return Ok(Err("it is damaged: its table of sections is invalid".to_owned()));
        }
    }
    Ok(Ok(()))
}

fn bytes_at<const N: usize>(data: &[u8], at: usize) -> Option<[u8; N]> {
    data.get(at..)?.first_chunk().copied()
}

fn le16(data: &[u8], at: usize) -> Option<u16> {
    bytes_at(data, at).map(u16::from_le_bytes)
}

fn be16(data: &[u8], at: usize) -> Option<u16> {
    bytes_at(data, at).map(u16::from_be_bytes)
}

fn le32(data: &[u8], at: usize) -> Option<u32> {
    bytes_at(data, at).map(u32::from_le_bytes)
}

fn be32(data: &[u8], at: usize) -> Option<u32> {
    bytes_at(data, at).map(u32::from_be_bytes)
}

fn le64(data: &[u8], at: usize) -> Option<u64> {
    bytes_at(data, at).map(u64::from_le_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An ELF header of 64 bytes.
    fn elf(kind: u16, machine: u16) -> Vec<u8> {
        let mut head = vec![0; 64];
        head[..7].copy_from_slice(b"\x7fELF\x02\x01\x01");
        head[16..18].copy_from_slice(&kind.to_le_bytes());
        head[18..20].copy_from_slice(&machine.to_le_bytes());
        head
    }

    fn pe(machine: u16) -> Vec<u8> {
        let mut head = [0; 0x40];
        head[..2].copy_from_slice(b"MZ");
        head[0x3c] = 0x40;
        [&head[..], b"PE\0\0", &machine.to_le_bytes()].concat()
    }

    fn universal(machines: &[u32]) -> Vec<u8> {
        let mut head = [0xcafe_babe_u32, machines.len() as u32].map(u32::to_be_bytes).concat();
        for machine in machines {
            head.extend(machine.to_be_bytes());
            head.extend([0; 16]);
        }
        head
    }

    #[test]
    fn libraries_for_this_system_and_processor_are_accepted() {
        let mach = |machine: u32| [0xfeed_facf_u32, machine].map(u32::to_le_bytes).concat();
        for (head, os, arch) in [
            (elf(3, 62), "linux", "x86_64"),
            (elf(3, 183), "linux", "aarch64"),
            (elf(3, 62), "freebsd", "x86_64"),
            (mach(0x0100_000c), "macos", "aarch64"),
            (universal(&[0x0100_0007, 0x0100_000c]), "macos", "x86_64"),
            (pe(0x8664), "windows", "x86_64"),
            (pe(0xaa64), "windows", "aarch64"),
        ] {
            assert_eq!(check_head(&head, os, arch), Ok(()), "{os} {arch}");
        }
    }

    #[test]
    fn other_files_are_named() {
        let pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 21034567\n";
        for (head, os, arch, reason) in [
            (elf(3, 183), "linux", "x86_64", "built for aarch64 processors, and this program for x86_64"),
            (elf(3, 999), "linux", "x86_64", "built for other (0x3e7) processors"),
            (elf(2, 62), "linux", "x86_64", "not a shared library"),
            (elf(3, 62), "macos", "x86_64", "a library for Linux, and this system is macos"),
            (pe(0x8664), "linux", "x86_64", "a library for Windows"),
            (universal(&[7, 12]), "macos", "aarch64", "built for x86 and arm processors"),
            (elf(3, 62)[..10].to_vec(), "linux", "x86_64", "cut off"),
            (pe(0x8664)[..0x41].to_vec(), "windows", "x86_64", "a DOS program"),
            (universal(&[7, 12])[..20].to_vec(), "macos", "x86_64", "cut off"),
            (Vec::new(), "linux", "x86_64", "an empty file"),
            (pointer.to_vec(), "linux", "x86_64", "a Git LFS pointer"),
            (b"PK\x03\x04\x14\0".to_vec(), "linux", "x86_64", "a ZIP archive"),
            (b"<!DOCTYPE html>".to_vec(), "linux", "x86_64", "a web page"),
            (b"INPUT(libonnxruntime.so.1)".to_vec(), "linux", "x86_64", "a text or another file"),
            (vec![0; 300], "linux", "x86_64", "not a library"),
            (b"ab".to_vec(), "linux", "x86_64", "cut off"),
        ] {
            let error = check_head(&head, os, arch).unwrap_err();
            assert!(error.contains(reason), "{error}, not {reason}");
        }
        // Any beginning of any file gives an answer.
        for whole in [elf(3, 62), pe(0x8664), universal(&[7, 12]), pointer.to_vec()] {
            for end in 0..whole.len() {
                let _ = check_head(&whole[..end], "linux", "x86_64");
            }
        }
    }

    #[test]
    fn files_without_their_end_are_cut_off() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("library.so");
        // One program header behind the file's header, for 1,000 bytes from the beginning of the file.
        let mut whole = elf(3, 62);
        whole[32] = 64; // e_phoff
        whole[54] = 56; // e_phentsize
        whole[56] = 1; // e_phnum
        whole.resize(1000, 0);
        whole[64 + 32..64 + 34].copy_from_slice(&1000_u16.to_le_bytes()); // p_filesz
        let check = |length: usize| {
            std::fs::write(&path, &whole[..length]).unwrap();
            check_length(&whole[..length.min(64)], &mut File::open(&path).unwrap(), length as u64).unwrap()
        };
        assert_eq!(check(1000), Ok(()));
        for length in [20, 64, 100, 999] {
            let error = check(length).unwrap_err();
            assert!(error.starts_with(&format!("it is cut off: {length} bytes of at least")), "{error}");
        }
        // One section header at the end, of the names of sections or zeros.
        whole[40..42].copy_from_slice(&936_u16.to_le_bytes()); // e_shoff
        whole[58] = 64; // e_shentsize
        whole[60] = 1; // e_shnum
        for (kind, is_valid) in [(0, false), (3, true)] {
            whole[936 + 4] = kind; // sh_type
            std::fs::write(&path, &whole).unwrap();
            let checked = check_length(&whole[..64], &mut File::open(&path).unwrap(), 1000).unwrap();
            assert_eq!(checked.is_ok(), is_valid, "{checked:?}");
        }
        // Offsets that no file can have.
        whole[40..48].fill(0xff);
        std::fs::write(&path, &whole).unwrap();
        assert!(check_length(&whole[..64], &mut File::open(&path).unwrap(), 1000).unwrap().is_err());
    }

    #[test]
    fn what_is_no_file_is_not_opened() {
        let dir = tempfile::tempdir().unwrap();
        assert!(check(dir.path()).unwrap_err().contains("a directory"));
        assert_eq!(check(&dir.path().join("gone")).unwrap_err(), "there is no such file");
        #[cfg(unix)]
        {
            let link = dir.path().join("link");
            std::os::unix::fs::symlink("/no/such/library.so", &link).unwrap();
            assert_eq!(check(&link).unwrap_err(), "it is a link to /no/such/library.so, which does not exist");
            let pipe = dir.path().join("pipe");
            assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
            assert!(check(&pipe).unwrap_err().contains("not a regular file"));
        }
    }
}
