//! Command-line options that select a recipe and override its settings.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail};
use landfall_common::fs::read_toml;
use serde::Deserialize;

use super::{Recipe, is_unset};

/// Options of every command that trains a head.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct RecipeArgs {
    /// Recipe file (TOML)
    #[arg(long, value_name = "FILE", help_heading = "Input")]
    pub(crate) recipe: PathBuf,
    /// Feature folder; overrides the recipe (repeatable, for several variants of the pictures)
    #[arg(long, value_name = "DIR", help_heading = "Input")]
    pub(crate) features: Vec<PathBuf>,
    /// Index of the pictures (CSV or Parquet); overrides the recipe
    #[arg(long, value_name = "FILE", help_heading = "Input")]
    pub(crate) index: Option<PathBuf>,
    /// Cell table; overrides the recipe
    #[arg(long, value_name = "FILE", help_heading = "Input")]
    pub(crate) cells: Option<PathBuf>,
    /// Override a setting of the recipe, as in label.tau_km=300 (repeatable)
    #[arg(long = "set", value_name = "KEY=VALUE", help_heading = "Training")]
    pub(crate) set: Vec<String>,
}

impl RecipeArgs {
    /// Reads the recipe and applies the overrides of the command line.
    ///
    /// # Errors
    /// When the file cannot be read or has an unknown key (the message names the line), or a setting is invalid.
    pub(crate) fn read(&self) -> Result<Recipe> {
        let mut recipe = read(&self.recipe, &self.set)?;
        if !self.features.is_empty() {
            recipe.data.features.clone_from(&self.features);
        }
        recipe.data.index = self.index.clone().unwrap_or(recipe.data.index);
        recipe.data.cells = self.cells.clone().unwrap_or(recipe.data.cells);
        let data = &recipe.data;
        for (missing, what) in
            [(data.features.is_empty(), "features"), (is_unset(&data.index), "index"), (is_unset(&data.cells), "cells")]
        {
            if missing {
                bail!("{} does not set data.{what}: add it there or pass --{what}", self.recipe.display());
            }
        }
        Ok(recipe)
    }
}

fn read(file: &Path, changes: &[String]) -> Result<Recipe> {
    let mut recipe: Recipe = read_toml(file)?;
    if !changes.is_empty() {
        let mut table: toml::Table = read_toml(file)?;
        rename_former_keys(&mut table);
        for change in changes {
            set(&mut table, change)?;
            rename_former_keys(&mut table);
        }
        let refused = |error: toml::de::Error| anyhow!("--set {}: {}", changes.join(" --set "), error.message());
        recipe = Recipe::deserialize(table).map_err(refused)?;
    }
    recipe.check().with_context(|| format!("invalid setting in {}", file.display()))?;
    Ok(recipe)
}

/// Former key names that files and --set may still use: section, former name, name.
const FORMER_KEYS: [(&str, &str, &str); 4] = [
    ("train", "rate", "lr"),
    ("cell_embeddings", "rate_factor", "lr_factor"),
    ("prior", "less_train", "subtract_train"),
    ("prior", "plus_game", "add_game"),
];

/// Renames former keys, so that an override applies to a setting under either name.
fn rename_former_keys(table: &mut toml::Table) {
    for (section, former, name) in FORMER_KEYS {
        let section = table.get_mut(section).and_then(toml::Value::as_table_mut);
        if let Some((section, value)) = section.and_then(|section| section.remove(former).map(|value| (section, value)))
        {
            section.insert(name.to_owned(), value);
        }
    }
}

/// Sets one key of a table: `section.key=value`, where the value is TOML or, failing that, a plain string.
fn set(table: &mut toml::Table, change: &str) -> Result<()> {
    let (path, value) = change.split_once('=').with_context(|| format!("--set {change}: must be KEY=VALUE"))?;
    let read = toml::from_str::<toml::Table>(&format!("value = {value}")).ok().and_then(|mut t| t.remove("value"));
    let mut keys: Vec<&str> = path.trim().split('.').collect();
    let last = keys.pop().unwrap_or_default();
    let mut at = table;
    for key in keys {
        let inner = at.entry(key).or_insert_with(|| toml::Table::new().into());
        at = inner.as_table_mut().with_context(|| format!("--set {change}: {key} is not a table"))?;
    }
    at.insert(last.to_owned(), read.unwrap_or_else(|| value.into()));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_text(text: &str, changes: &[&str]) -> Result<Recipe> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        read(file.path(), &changes.iter().map(|change| (*change).to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn omitted_settings_have_defaults_and_set_changes_them() {
        let text = "[train]\nepochs = 3\n[hierarchy]\nlevels = [2]\n";
        let recipe = read_text(text, &[]).unwrap();
        assert_eq!((recipe.train.epochs, recipe.train.batch), (3, 256));
        let changes = ["train.epochs=5", "hierarchy.levels=[2, 4]", "early_stop.patience=2", "data.index=a/b.csv"];
        let recipe = read_text(text, &changes).unwrap();
        assert_eq!((recipe.train.epochs, recipe.early_stop.patience), (5, 2));
        assert_eq!((recipe.hierarchy.levels, recipe.data.index), (vec![2, 4], PathBuf::from("a/b.csv")));
    }

    #[test]
    fn errors_name_the_line() {
        for (text, line, why) in [
            ("[train]\nepochs = 3\n\nepoch = 4\n", "line 4", "epoch"),
            ("[label]\ntau_km = \"far\"\n", "line 2", "far"),
            ("[train\n", "line 1", "]"),
        ] {
            let error = format!("{:#}", read_text(text, &[]).unwrap_err());
            assert!(error.contains(line) && error.contains(why), "{error}");
        }
        for change in ["train.epoch=1", "train", "train.epochs.most=1", "train.epochs=many"] {
            let error = format!("{:#}", read_text("[train]\nepochs = 3\n", &[change]).unwrap_err());
            assert!(error.contains("--set"), "{change}: {error}");
        }
    }

    #[test]
    fn invalid_settings_are_refused() {
        for bad in ["train.dropout=1.5", "train.epochs=0", "train.lr=0", "label.smoothing=1", "label.tau_km=-1"] {
            let error = format!("{:#}", read_text("", &[bad]).unwrap_err());
            assert!(error.contains(bad.split('=').next().unwrap_or_default()), "{bad}: {error}");
        }
        assert!(read_text("", &[]).is_ok());
    }

    #[test]
    fn former_keys_are_read_and_changed() {
        for text in ["[train]\nrate = 0.5\n", "[train]\nlr = 0.5\n"] {
            assert_eq!(read_text(text, &[]).unwrap().train.lr, 0.5);
            assert_eq!(read_text(text, &["train.rate=0.25"]).unwrap().train.lr, 0.25);
            assert_eq!(read_text(text, &["train.lr=0.25"]).unwrap().train.lr, 0.25);
        }
        let changed = read_text("", &["cell_embeddings.rate_factor=3"]).unwrap();
        assert_eq!(changed.cell_embeddings.lr_factor, 3.0);
    }

    #[test]
    fn recipes_of_former_versions_are_equivalent() {
        let trainer = Path::new(env!("CARGO_MANIFEST_DIR"));
        for (former, now) in [
            ("desktop.toml", "tests/compat/desktop-2026.11.4.toml"),
            ("multi-label.toml", "recipes/seed/multi-label.toml"),
        ] {
            let former = read(&trainer.join("tests/compat").join(former), &[]).unwrap();
            let now = read(&trainer.join(now), &[]).unwrap();
            assert_eq!(serde_json::to_value(former).unwrap(), serde_json::to_value(now).unwrap());
        }
    }

    /// Checkpoints and `head.json` contain recipes serialised by former versions.
    #[test]
    fn a_recipe_is_serialised_as_before() {
        let train = serde_json::to_string(&Recipe::default().train).unwrap();
        let expected = r#"{"seed":1,"heads":1,"epochs":25,"batch":256,"rate":0.001,"warm_up":0.1,"weight_decay":0.1,"dropout":0.3,"hidden":0,"mixup":0.0}"#;
        assert_eq!(train, expected);
    }
}
