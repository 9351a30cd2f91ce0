//! Locators: how elements are found on a page, by CSS, text and ARIA role, within frames. Profiles consist of lists of
//! them.
//!
//! A locator is a string, `css` or `css @attribute`, or a table:
//! `{ css = "button", text = "guess|submit", role = "button", frame = ["#game"], attribute = "data-points" }`.

use std::ops::Range;

use regex::Regex;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize};
use toml::Spanned;

/// One locator.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Locator {
    /// CSS selector.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub css: Option<String>,
    /// Regular expression that must match the whole visible text, ignoring case.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// ARIA role.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role: Option<Role>,
    /// CSS selectors of the frames that contain it, outermost first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub frame: Vec<String>,
    /// Attribute that holds the value, if it is not the text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attribute: Option<String>,
}

impl Locator {
    /// Parses `css` or `css @attribute`.
    pub(crate) fn of(text: &str) -> Self {
        let (css, attribute) = match text.split_once(" @") {
            Some((css, attribute)) => (css, Some(attribute.to_owned())),
            None => (text, None),
        };
        Self { css: Some(css.to_owned()), attribute, ..Self::default() }
    }

    /// An error message if the locator is invalid. The browser checks selectors.
    pub(super) fn validation_error(&self) -> Option<String> {
        if self.css.is_none() && self.text.is_none() && self.role.is_none() {
            return Some("a locator needs css, text or role".into());
        }
        self.text.as_ref().and_then(|text| Regex::new(text).err()).map(|error| error.to_string())
    }
}

impl std::fmt::Display for Locator {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let parts = [
            self.css.as_ref().map(|css| format!("`{css}`")),
            self.role.map(|role| format!("a {role:?}").to_lowercase()),
            self.text.as_ref().map(|text| format!("that says `{text}`")),
            (!self.frame.is_empty()).then(|| format!("in the frame {}", self.frame.join(" > "))),
        ];
        f.write_str(&parts.into_iter().flatten().collect::<Vec<_>>().join(" "))
    }
}

/// ARIA roles, explicit or implied by the HTML element.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs, reason = "named by ARIA")]
pub enum Role {
    Alert,
    Button,
    Dialog,
    Heading,
    Img,
    Link,
    Status,
}

/// Locators of one element, tried in order.
#[derive(Clone, Debug, Default)]
pub struct Locators {
    locators: Vec<Locator>,
    /// Byte offset of each in the profile.
    spans: Vec<Range<usize>>,
}

impl Locators {
    /// All locators, in order.
    pub fn iter(&self) -> std::slice::Iter<'_, Locator> {
        self.locators.iter()
    }

    /// Byte offset of each in the profile.
    pub(in crate::site) fn spans(&self) -> impl Iterator<Item = (&Locator, usize)> {
        self.locators.iter().zip(self.spans.iter().map(|span| span.start))
    }

    /// The locators grouped by frame: consecutive ones in the same frame form a group.
    pub fn by_frame(&self) -> impl Iterator<Item = (&[String], &[Locator])> {
        self.locators.chunk_by(|a, b| a.frame == b.frame).map(|locators| (locators[0].frame.as_slice(), locators))
    }
}

impl FromIterator<Locator> for Locators {
    fn from_iter<I: IntoIterator<Item = Locator>>(locators: I) -> Self {
        Self { locators: locators.into_iter().collect(), spans: Vec::new() }
    }
}

impl<'de> Deserialize<'de> for Locators {
    fn deserialize<D: Deserializer<'de>>(list: D) -> Result<Self, D::Error> {
        let (mut locators, mut spans) = (Vec::new(), Vec::new());
        for locator in Vec::<Spanned<LocatorDef>>::deserialize(list)? {
            spans.push(locator.span());
            locators.push(locator.into_inner().0);
        }
        Ok(Self { locators, spans })
    }
}

impl JsonSchema for Locators {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Locators".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let locator = generator.subschema_for::<Locator>();
        let text = json_schema!({ "type": "string", "description": "`css` or `css @attribute`" });
        json_schema!({
            "description": "Locators of one element, tried in order.",
            "type": "array",
            "items": { "anyOf": [text, locator] },
        })
    }
}

/// A locator as written in a profile: a string or a table.
struct LocatorDef(Locator);

impl<'de> Deserialize<'de> for LocatorDef {
    fn deserialize<D: Deserializer<'de>>(locator: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> serde::de::Visitor<'de> for Visitor {
            type Value = Locator;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a CSS selector, or a table with css, text, role, frame, attribute")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Locator, E> {
                Ok(Locator::of(text))
            }

            fn visit_map<A: serde::de::MapAccess<'de>>(self, map: A) -> Result<Locator, A::Error> {
                Locator::deserialize(serde::de::value::MapAccessDeserializer::new(map))
            }
        }
        locator.deserialize_any(Visitor).map(Self)
    }
}

/// Functions for scripts: `findAll(locator)` finds elements, `isVisible(element)` tests whether one is visible,
/// `findVisible(locators)` returns the visible elements of the first locator that finds any, `topAt(element, x, y)` the element
/// at a point, in the same shadow root, `rect(element)` its rectangle in CSS pixels of its frame, `frameDepth()` the number of
/// frames around the script.
pub(crate) const LOCATOR_SCRIPT: &str = r"
const IMPLICIT = { alert: null, button: 'button, input[type=button], input[type=submit]', dialog: 'dialog',
  heading: 'h1, h2, h3, h4, h5, h6', img: 'img', link: 'a[href]', status: 'output' };
const hasRole = (e, role) => e.hasAttribute('role') ? e.getAttribute('role') === role
  : IMPLICIT[role] !== null && e.matches(IMPLICIT[role]);
const visibleText = e => (e.innerText || e.value || e.getAttribute('aria-label') || e.alt || '').trim();
// Open shadow roots, which selectors of the page do not enter.
const shadowRoots = (root = document) => [...root.querySelectorAll('*')].filter(e => e.shadowRoot)
  .flatMap(e => [e.shadowRoot, ...shadowRoots(e.shadowRoot)]);
const findAll = locator => {
  let found = [...document.querySelectorAll(locator.css ?? 'body *')];
  if (found.length === 0 && locator.css) found = shadowRoots().flatMap(root => [...root.querySelectorAll(locator.css)]);
  if (locator.role) found = found.filter(e => hasRole(e, locator.role));
  if (locator.text) {
    const text = new RegExp('^(?:' + locator.text + ')$', 'iu');
    // Visible text only: pages keep the answer in scripts and hidden elements.
    found = found.filter(e => isVisible(e) && text.test(visibleText(e)));
    // Without other criteria, the innermost element with the text.
    if (!locator.css && !locator.role) found = found.filter(e => !found.some(other => other !== e && e.contains(other)));
  }
  return found;
};
// Whether an element is outside the window where no scrolling reaches it, such as a result or a drawer that slides in.
const isInWindow = e => { const r = e.getBoundingClientRect(); return r.right > 0 && r.bottom > 0 && r.left < innerWidth && r.top < innerHeight };
const isOffScreen = e => {
  if (isInWindow(e)) return false;
  let isFixed = false;
  for (let up = e; up; up = up.parentElement ?? up.getRootNode().host) {
    const { position, transform, filter, overflowX, overflowY } = getComputedStyle(up);
    // What is fixed within a transformed element scrolls with it.
    if (transform !== 'none' || filter !== 'none') isFixed = false;
    if (up !== e && !isFixed && /auto|scroll/.test(overflowX + overflowY) && isInWindow(up)) return false;
    isFixed ||= position === 'fixed';
  }
  const r = e.getBoundingClientRect(), startsLeft = getComputedStyle(document.documentElement).direction === 'ltr';
  return isFixed || r.bottom + scrollY <= 0 || startsLeft && r.right + scrollX <= 0;
};
const isVisible = e => e.isConnected && [...e.getClientRects()].some(r => r.width > 0 && r.height > 0)
  && e.checkVisibility({ opacityProperty: true, visibilityProperty: true }) && !isOffScreen(e);
const findVisible = locators => {
  for (const locator of locators) {
    const found = findAll(locator).filter(isVisible);
    if (found.length > 0) return found;
  }
  return [];
};
// The element at a point of the viewport, as seen from the shadow root of another one.
const topAt = (e, x, y) => { const root = e.getRootNode(); return (root.elementFromPoint ? root : document).elementFromPoint(x, y) };
const frameDepth = () => { let n = 0; for (let w = window; w !== w.parent; w = w.parent) n++; return n };
const rect = e => { const r = e.getBoundingClientRect(); return { x: r.x, y: r.y, width: r.width, height: r.height } };
";

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Deserialize)]
    struct Table {
        locators: Locators,
    }

    fn parse(text: &str) -> Result<Vec<Locator>, String> {
        let table: Table = toml::from_str(text).map_err(|error| error.to_string())?;
        Ok(table.locators.iter().cloned().collect())
    }

    #[test]
    fn parses_strings_and_tables() {
        let locators = parse(
            "locators = ['.a .b', '#c @data-x', { role = 'button', text = 'guess|submit' }, { css = 'p', frame = ['#f', 'iframe'] }]",
        )
        .unwrap();
        let css = |css: &str| Some(css.to_owned());
        assert_eq!(locators[0], Locator { css: css(".a .b"), ..Locator::default() });
        assert_eq!(locators[1], Locator { css: css("#c"), attribute: Some("data-x".into()), ..Locator::default() });
        assert_eq!(
            locators[2],
            Locator { role: Some(Role::Button), text: Some("guess|submit".into()), ..Locator::default() }
        );
        assert_eq!(locators[3].frame, ["#f", "iframe"]);
        let all: Locators = locators.into_iter().collect();
        assert_eq!(
            all.by_frame().map(|(frame, locators)| (frame.len(), locators.len())).collect::<Vec<_>>(),
            [(0, 3), (2, 1)]
        );
    }

    #[test]
    fn errors_name_the_line() {
        for (bad, message) in [
            ("{ css = 'a', colour = 'red' }", "unknown field `colour`"),
            ("{ role = 'knob' }", "unknown variant `knob`"),
            ("7", "a CSS selector, or a table"),
        ] {
            let error = parse(&format!("locators = [\n  'good',\n  {bad},\n]")).unwrap_err();
            assert!(error.contains(message) && error.contains("line 3"), "{bad}: {error}");
        }
    }
}
