//! The JSON schema of profiles, from the types that read them.

use anyhow::Result;

use crate::site::Profile;

/// The JSON schema of profiles, for editors: `profiles/profile.schema.json`.
///
/// # Errors
/// When it cannot be serialised.
pub(crate) fn schema() -> Result<String> {
    let mut schema = schemars::schema_for!(Profile);
    schema.insert("title".to_owned(), "Landfall's site profile".into());
    Ok(serde_json::to_string_pretty(&schema)? + "\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::site::BUILT_IN;

    #[test]
    fn the_committed_schema_is_current_and_profiles_conform() {
        let committed = include_str!("../../../profiles/profile.schema.json");
        let now = schema().unwrap();
        assert!(now == committed, "regenerate it: landfall doctor --schema > agent/profiles/profile.schema.json");
        let mut compiler = boon::Compiler::new();
        compiler.add_resource("profile.json", serde_json::from_str(committed).unwrap()).unwrap();
        let mut schemas = boon::Schemas::new();
        let index = compiler.compile("profile.json", &mut schemas).unwrap();
        let check = |text: &str| {
            let profile: serde_json::Value = toml::from_str(text).unwrap();
            schemas.validate(&profile, index).map_err(|error| error.to_string())
        };
        for (name, text) in BUILT_IN {
            assert_eq!(check(text), Ok(()), "{name}");
            assert!(
                text.starts_with("#:schema ./profile.schema.json\n"),
                "{name}: the schema comment for editors is missing"
            );
        }
        let (_, good) = BUILT_IN[0];
        for (from, to) in [
            ("still_ms", "still_mss"),
            ("hfov = 100.0", "hfov = 'wide'"),
            ("problem = [\"[role=alert]\"]", "problem = [{ role = 'knob' }]"),
            ("version = 2", ""),
        ] {
            assert!(good.contains(from) && check(&good.replace(from, to)).is_err(), "{to}");
        }
    }
}
