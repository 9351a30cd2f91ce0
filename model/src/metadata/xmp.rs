//! Properties of XMP packets, which are RDF in XML.

use roxmltree::{Document, Node};

const RDF: &str = "http://www.w3.org/1999/02/22-rdf-syntax-ns#";
/// Namespace of the EXIF properties.
pub const EXIF: &str = "http://ns.adobe.com/exif/1.0/";

/// Reads the simple properties of an XMP packet.
///
/// `None` for a packet that is not XML. Properties inside structures, such as the place that an image shows, are not
/// those of the image and are not found.
pub fn with_properties<T>(packet: &[u8], read: impl FnOnce(&Properties<'_, '_>) -> T) -> Option<T> {
    let text = String::from_utf8_lossy(packet);
    let text = text.trim_matches(|c: char| c.is_whitespace() || c == '\0' || c == '\u{feff}');
    let document = Document::parse(text).ok()?;
    Some(read(&Properties { document: &document }))
}

/// The properties of a packet.
pub struct Properties<'a, 'input> {
    document: &'a Document<'input>,
}

impl Properties<'_, '_> {
    /// The value of a property, as an attribute or as an element.
    pub fn get(&self, namespace: &str, name: &str) -> Option<&str> {
        let is_of_image = |node: &Node<'_, '_>| {
            node.has_tag_name((RDF, "Description"))
                && node.parent_element().is_some_and(|up| up.has_tag_name((RDF, "RDF")))
        };
        self.document.descendants().filter(is_of_image).find_map(|node| {
            let element = || node.children().find(|child| child.has_tag_name((namespace, name)))?.text();
            node.attribute((namespace, name)).or_else(element).map(str::trim)
        })
    }
}
