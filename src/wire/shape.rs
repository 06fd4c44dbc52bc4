//! The shape of a writer's schema: how its values look as bytes, and what its fields are called. Defaults, docs, aliases and
//! logical types are ignored, because they say nothing about the bytes.
//!
//! A [`Shape`] is finite: recursive schemas, and schemas nested deeper than [`MAX_DEPTH`], are refused, so that whoever walks
//! a shape can recurse.

use serde_json::{Map, Value};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

/// How deep records, arrays and maps may be nested, the outermost included. Real commands nest two deep; 32 levels of
/// recursion fit any stack.
pub(super) const MAX_DEPTH: usize = 32;

/// A schema as far as it determines the bytes of its values. A schema that is named more than once is shared.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Shape {
    Null,
    Boolean,
    Int,
    Long,
    Float,
    Double,
    Bytes,
    String,
    Fixed(usize),
    Enum(Vec<Box<str>>),
    Array(Arc<Shape>),
    Map(Arc<Shape>),
    Union(Vec<Arc<Shape>>),
    Record(RecordShape),
}

/// A record's shape.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct RecordShape {
    /// The name with its namespace.
    pub full_name: Box<str>,
    pub fields: Vec<Field>,
    /// The shapes of those fields that take bytes: the only ones to be walked when the record is skipped.
    pub occupied: Vec<Arc<Shape>>,
}

/// A record's field.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Field {
    pub name: Box<str>,
    pub shape: Arc<Shape>,
}

impl RecordShape {
    /// Returns the name without its namespace.
    pub(super) fn name(&self) -> &str {
        self.full_name.rsplit('.').next().unwrap_or_default()
    }
}

impl Shape {
    /// Reads a schema. A name that the schema does not define is looked for in `references`, the schemas to which it refers according to
    /// the registry.
    ///
    /// # Errors
    /// Returns the reason why the schema can't be used, in words.
    pub(super) fn parse(json: &str, references: &[String]) -> Result<Arc<Self>, String> {
        let parse = |json: &str| serde_json::from_str::<Value>(json).map_err(|e| format!("the schema is not JSON: {e}"));
        let json = parse(json)?;
        let references = references.iter().map(|r| parse(r)).collect::<Result<Vec<_>, _>>()?;
        let references = references.iter().rev().collect();
        Parser { named: HashMap::new(), references }.schema(&json, "", 0).map(|node| node.shape)
    }

    /// Returns whether a value takes no bytes at all. Then any number of such values fits into no bytes.
    pub(super) fn is_empty(&self) -> bool {
        match self {
            Self::Null | Self::Fixed(0) => true,
            Self::Record(record) => record.occupied.is_empty(),
            _ => false,
        }
    }

    /// Returns what the shape is, for messages.
    pub(super) fn describe(&self) -> String {
        let simple = match self {
            Self::Null => "null",
            Self::Boolean => "boolean",
            Self::Int => "int",
            Self::Long => "long",
            Self::Float => "float",
            Self::Double => "double",
            Self::Bytes => "bytes",
            Self::String => "string",
            Self::Fixed(_) => "fixed",
            Self::Enum(_) => "enum",
            Self::Array(_) => "array",
            Self::Map(_) => "map",
            Self::Union(branches) => {
                let branches: Vec<_> = branches.iter().take(4).map(|b| b.describe()).collect();
                return format!("union of {}", branches.join(", "));
            }
            Self::Record(record) => return format!("record {}", quote(record.name())),
        };
        simple.into()
    }
}

/// Returns a name out of a schema for a message: quoted, and cut off if it is longer than any sensible name.
pub(super) fn quote(name: &str) -> String {
    const LONGEST: usize = 100;
    if name.chars().nth(LONGEST).is_none() {
        return format!("{name:?}");
    }
    format!("{:?}…", name.chars().take(LONGEST).collect::<String>())
}

struct Parser<'a> {
    /// The schemas that have a name, by their full names; `None` while a schema is being defined.
    named: HashMap<String, Option<Node>>,
    /// The referenced schemas that were not needed yet.
    references: Vec<&'a Value>,
}

/// A shape, and how deep records, arrays and maps are nested in it.
#[derive(Clone)]
struct Node {
    shape: Arc<Shape>,
    height: usize,
}

impl Node {
    fn leaf(shape: Shape) -> Self {
        Self { shape: Arc::new(shape), height: 0 }
    }
}

impl<'a> Parser<'a> {
    /// Reads a schema; `depth` counts the records, arrays and maps around it.
    fn schema(&mut self, json: &'a Value, namespace: &str, depth: usize) -> Result<Node, String> {
        match json {
            Value::String(name) => self.by_name(name, namespace, depth),
            Value::Array(branches) => self.union(branches, namespace, depth),
            Value::Object(object) => match object.get("type") {
                Some(Value::String(kind)) => self.by_kind(kind, object, namespace, depth),
                Some(inner) => self.schema(inner, namespace, depth),
                None => Err("a schema has no type".into()),
            },
            _ => Err("a schema is neither a name, an object nor an array".into()),
        }
    }

    fn by_kind(&mut self, kind: &str, object: &'a Map<String, Value>, namespace: &str, depth: usize) -> Result<Node, String> {
        match kind {
            "record" | "error" => self.record(object, namespace, depth),
            "enum" => self.define(object, namespace, |_, _, _| {
                let symbols = strings(object.get("symbols")).ok_or("an enum has no list of symbols")?;
                Ok(Node::leaf(Shape::Enum(symbols)))
            }),
            "fixed" => self.define(object, namespace, |_, _, _| {
                let size = object.get("size").and_then(Value::as_u64).and_then(|size| usize::try_from(size).ok());
                Ok(Node::leaf(Shape::Fixed(size.ok_or("a fixed has no size")?)))
            }),
            "array" | "map" => {
                let key = if kind == "array" { "items" } else { "values" };
                let inner = object.get(key).ok_or_else(|| format!("an {kind} has no {key}"))?;
                let inner = self.schema(inner, namespace, deeper(depth)?)?;
                let shape = if kind == "array" { Shape::Array(inner.shape) } else { Shape::Map(inner.shape) };
                Ok(Node { shape: Arc::new(shape), height: deeper(inner.height)? })
            }
            name => self.by_name(name, namespace, depth),
        }
    }

    fn by_name(&mut self, name: &str, namespace: &str, depth: usize) -> Result<Node, String> {
        let primitive = match name {
            "null" => Shape::Null,
            "boolean" => Shape::Boolean,
            "int" => Shape::Int,
            "long" => Shape::Long,
            "float" => Shape::Float,
            "double" => Shape::Double,
            "bytes" => Shape::Bytes,
            "string" => Shape::String,
            _ => return self.reference(&qualify(name, namespace), depth),
        };
        Ok(Node::leaf(primitive))
    }

    fn reference(&mut self, name: &str, depth: usize) -> Result<Node, String> {
        match self.named.get(name) {
            // This bounds the depth, too: the height of the schema around this one is checked when that schema is complete.
            Some(Some(node)) => Ok(node.clone()),
            Some(None) => Err(format!("the schema is recursive: {} holds itself", quote(name))),
            None => match self.take_reference(name) {
                Some(json) => {
                    self.schema(json, "", depth)?;
                    match self.named.get(name) {
                        Some(Some(named)) => Ok(named.clone()),
                        Some(None) => Err(format!("the schema is recursive: {} holds itself", quote(name))),
                        // That reference neither has the name nor defines it; the next one may.
                        None => self.reference(name, depth),
                    }
                }
                None => Err(format!("the schema names {}, which is not defined", quote(name))),
            },
        }
    }

    /// Takes the reference that has this name, or else any other, because the name may be defined inside of it.
    fn take_reference(&mut self, name: &str) -> Option<&'a Value> {
        let is_called = |json: &&Value| json.as_object().and_then(|o| full_name(o, "").ok()).is_some_and(|n| n == name);
        match self.references.iter().position(is_called) {
            Some(at) => Some(self.references.remove(at)),
            None => self.references.pop(),
        }
    }

    fn union(&mut self, branches: &'a [Value], namespace: &str, depth: usize) -> Result<Node, String> {
        let nodes = branches.iter().map(|b| self.schema(b, namespace, depth)).collect::<Result<Vec<_>, _>>()?;
        if nodes.iter().any(|n| matches!(*n.shape, Shape::Union(_))) {
            return Err("a union holds a union".into());
        }
        let height = nodes.iter().map(|n| n.height).max().unwrap_or_default();
        Ok(Node { shape: Arc::new(Shape::Union(nodes.into_iter().map(|n| n.shape).collect())), height })
    }

    fn record(&mut self, object: &'a Map<String, Value>, namespace: &str, depth: usize) -> Result<Node, String> {
        self.define(object, namespace, |parser, full_name, namespace| {
            let depth = deeper(depth)?;
            let list = object.get("fields").and_then(Value::as_array).ok_or("a record has no list of fields")?;
            let (mut fields, mut names, mut height) = (Vec::with_capacity(list.len()), HashSet::new(), 0);
            for field in list {
                let name = field.get("name").and_then(Value::as_str).ok_or("a field has no name")?;
                if !names.insert(name) {
                    return Err(format!("a record has two fields {}", quote(name)));
                }
                let json = field.get("type").ok_or_else(|| format!("the field {} has no type", quote(name)))?;
                let node = parser.schema(json, namespace, depth)?;
                height = height.max(node.height);
                fields.push(Field { name: name.into(), shape: node.shape });
            }
            let occupied = fields.iter().filter(|f| !f.shape.is_empty()).map(|f| f.shape.clone()).collect();
            let record = RecordShape { full_name: full_name.into(), fields, occupied };
            Ok(Node { shape: Arc::new(Shape::Record(record)), height: deeper(height)? })
        })
    }

    /// Defines a named schema; `contents` is given the schema's full name and its namespace.
    fn define(
        &mut self,
        object: &Map<String, Value>,
        namespace: &str,
        contents: impl FnOnce(&mut Self, &str, &str) -> Result<Node, String>,
    ) -> Result<Node, String> {
        let name = full_name(object, namespace)?;
        if self.named.insert(name.clone(), None).is_some() {
            return Err(format!("the schema defines {} twice", quote(&name)));
        }
        let namespace = name.rsplit_once('.').map_or("", |(namespace, _)| namespace);
        let node = contents(self, &name, namespace)?;
        self.named.insert(name, Some(node.clone()));
        Ok(node)
    }
}

fn deeper(depth: usize) -> Result<usize, String> {
    if depth < MAX_DEPTH { Ok(depth + 1) } else { Err(format!("the schema is nested deeper than {MAX_DEPTH}")) }
}

/// Returns the full name of a definition in the namespace `enclosing`. A name with a dot is full already.
fn full_name(object: &Map<String, Value>, enclosing: &str) -> Result<String, String> {
    let name = object.get("name").and_then(Value::as_str).filter(|n| !n.is_empty()).ok_or("a named schema has no name")?;
    Ok(qualify(name, object.get("namespace").and_then(Value::as_str).unwrap_or(enclosing)))
}

fn qualify(name: &str, namespace: &str) -> String {
    if name.contains('.') || namespace.is_empty() { name.into() } else { format!("{namespace}.{name}") }
}

fn strings(json: Option<&Value>) -> Option<Vec<Box<str>>> {
    json?.as_array()?.iter().map(|s| s.as_str().map(Into::into)).collect()
}
