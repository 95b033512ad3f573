//! What a client that knows only a published document cannot do with the API that our document describes.
//!
//! Each side may send only what the other can read: a request has to fit our schema, an answer has to fit the published one. What is
//! added (optional keys, statuses, routes) is no difference; what is missing is one.
//!
//! A difference is a sentence that begins with its place: a route, or a schema of the published document.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

/// The differences between our document and a published one.
pub fn differences(ours: &Value, theirs: &Value) -> BTreeSet<String> {
    let pair = Pair { ours, theirs };
    let mut found = BTreeSet::new();
    for (path, operations) in members(&theirs["paths"]) {
        for (method, theirs) in members(operations) {
            let place = format!("{} {path}", method.to_uppercase());
            let ours = &ours["paths"][path][method];
            if ours.is_null() {
                found.insert(format!("{place}: is missing"));
            } else {
                found.extend(pair.operation(&place, ours, theirs));
            }
        }
    }
    found
}

/// Who writes a value.
#[derive(Clone, Copy, PartialEq)]
enum Sender {
    /// The client, by the published document.
    Client,
    /// The daemon, by our document.
    Daemon,
}

struct Pair<'a> {
    ours: &'a Value,
    theirs: &'a Value,
}

impl Pair<'_> {
    fn operation(&self, place: &str, ours: &Value, theirs: &Value) -> Vec<String> {
        let mut found = Vec::new();
        for key in ["operationId", "deprecated"] {
            if !theirs[key].is_null() && ours[key] != theirs[key] {
                found.push(format!("{place}: {key} is {}", ours[key]));
            }
        }
        for tag in items(&theirs["tags"]) {
            if !items(&ours["tags"]).any(|ours| ours == tag) {
                found.push(format!("{place}: lacks the tag {tag}"));
            }
        }
        found.extend(self.parameters(place, ours, theirs));
        found.extend(self.request_body(place, &ours["requestBody"], &theirs["requestBody"]));
        for (status, theirs) in members(&theirs["responses"]) {
            let place = format!("{place} {status}");
            let ours = resolve(self.ours, &ours["responses"][status]);
            if ours.is_null() {
                found.push(format!("{place}: is missing"));
            } else {
                found.extend(self.contents(&place, Sender::Daemon, ours, theirs));
            }
        }
        found
    }

    fn parameters(&self, place: &str, ours: &Value, theirs: &Value) -> Vec<String> {
        let same = |a: &Value, b: &Value| a["name"] == b["name"] && a["in"] == b["in"];
        let mut found = Vec::new();
        for parameter in items(&theirs["parameters"]) {
            let place = format!("{place} {}", text(&parameter["name"]));
            let ours = items(&ours["parameters"]).find(|ours| same(ours, parameter));
            let Some(ours) = ours else {
                found.push(format!("{place}: is missing"));
                continue;
            };
            let (ours, theirs) = (&ours["schema"], &parameter["schema"]);
            found.extend(self.schemas(&place, Sender::Client, ours, theirs));
        }
        for parameter in items(&ours["parameters"]).filter(|it| it["required"] == true) {
            let theirs = items(&theirs["parameters"]).find(|theirs| same(theirs, parameter));
            if theirs.is_none_or(|theirs| theirs["required"] != true) {
                found.push(format!("{place} {}: is required", text(&parameter["name"])));
            }
        }
        found
    }

    fn request_body(&self, place: &str, ours: &Value, theirs: &Value) -> Vec<String> {
        let mut found = self.contents(&format!("{place} body"), Sender::Client, ours, theirs);
        if ours["required"] == true && theirs["required"] != true {
            found.push(format!("{place} body: is required"));
        }
        found
    }

    /// Compares what is declared for each content type.
    fn contents(&self, place: &str, sender: Sender, ours: &Value, theirs: &Value) -> Vec<String> {
        let mut found = Vec::new();
        for (kind, theirs) in members(&theirs["content"]) {
            let ours = &ours["content"][kind];
            if ours.is_null() {
                found.push(format!("{place}: lacks {kind}"));
            } else {
                found.extend(self.schemas(place, sender, &ours["schema"], &theirs["schema"]));
            }
        }
        found
    }

    /// Each form of what is sent has to fit a form of what is read.
    fn schemas(&self, place: &str, sender: Sender, ours: &Value, theirs: &Value) -> Vec<String> {
        let place = name_of(theirs).unwrap_or(place);
        let (ours, theirs) = (forms(self.ours, ours), forms(self.theirs, theirs));
        let place = theirs
            .iter()
            .find_map(|form| form.name.as_deref())
            .unwrap_or(place);
        let (sent, read) = match sender {
            Sender::Client => (&theirs, &ours),
            Sender::Daemon => (&ours, &theirs),
        };
        let misfits = sent.iter().map(|form| {
            let candidates = read.iter().filter(|other| form.resembles(other));
            let complaints = candidates.map(|other| match sender {
                Sender::Client => self.form(place, sender, other, form),
                Sender::Daemon => self.form(place, sender, form, other),
            });
            let least = complaints.min_by_key(Vec::len);
            least.unwrap_or_else(|| vec![format!("{place}: may be {}", form.label())])
        });
        misfits.flatten().collect()
    }

    fn form(&self, place: &str, sender: Sender, ours: &Form, theirs: &Form) -> Vec<String> {
        let mut found = Vec::new();
        for (key, schema) in &theirs.properties {
            let place = format!("{place}.{key}");
            match ours.properties.get(key) {
                None => found.push(format!("{place}: is missing")),
                Some(ours) => found.extend(self.schemas(&place, sender, ours, schema)),
            }
        }
        let (asked, given, complaint) = match sender {
            Sender::Client => (&ours.required, &theirs.required, "is required"),
            Sender::Daemon => (&theirs.required, &ours.required, "may be absent"),
        };
        let unmet = asked
            .difference(given)
            .filter(|key| ours.properties.contains_key(*key));
        found.extend(unmet.map(|key| format!("{place}.{key}: {complaint}")));
        if let (Some(ours), Some(theirs)) = (&ours.items, &theirs.items) {
            found.extend(self.schemas(&format!("{place}[]"), sender, ours, theirs));
        }
        let (sent, read) = match sender {
            Sender::Client => (theirs, ours),
            Sender::Daemon => (ours, theirs),
        };
        match (&sent.values, &read.values) {
            (_, None) => {}
            (None, Some(_)) => found.push(format!("{place}: may be any text")),
            (Some(sent), Some(read)) => {
                let unread = sent.difference(read);
                found.extend(unread.map(|value| format!("{place}: may be {value}")));
            }
        }
        if theirs.format.is_some() && ours.format != theirs.format {
            found.push(format!("{place}: has the format {:?}", ours.format));
        }
        // A request may be bounded more closely: the document says what barkd refuses without saying.
        if sender == Sender::Daemon && theirs.minimum > ours.minimum {
            found.push(format!("{place}: may be negative"));
        }
        found
    }
}

/// One of the forms that the value of a schema can have.
#[derive(Clone, Default)]
struct Form {
    /// The schema's name in its document, if it has one.
    name: Option<String>,
    /// `object`, `array`, `null`, …; empty for any value.
    kind: String,
    properties: BTreeMap<String, Value>,
    required: BTreeSet<String>,
    items: Option<Value>,
    /// The values of an enum, as JSON.
    values: Option<BTreeSet<String>>,
    format: Option<String>,
    minimum: Option<i64>,
}

impl Form {
    fn of(kind: &str, schema: &Value) -> Form {
        let values = schema["enum"].as_array();
        Form {
            name: None,
            kind: kind.to_owned(),
            properties: owned(&schema["properties"]),
            required: items(&schema["required"]).map(text).collect(),
            items: schema.get("items").cloned(),
            values: values.map(|values| values.iter().map(Value::to_string).collect()),
            format: schema["format"].as_str().map(str::to_owned),
            minimum: schema["minimum"].as_i64(),
        }
    }

    /// A value that has both forms.
    fn and(&self, other: &Form) -> Form {
        let mut both = self.clone();
        both.properties.extend(other.properties.clone());
        both.required.extend(other.required.iter().cloned());
        both.kind.clone_from(&other.kind);
        both
    }

    /// The keys with only one possible value, which tell the variants of a type apart.
    fn tags(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.properties
            .iter()
            .filter_map(|(key, schema)| match schema["enum"].as_array() {
                Some(values) if values.len() == 1 => Some((key.as_str(), &values[0])),
                _ => None,
            })
    }

    /// Whether it is the same kind of value, or variant, as the form that is read.
    fn resembles(&self, read: &Form) -> bool {
        let variant = read.tags().all(|(key, value)| {
            let mut own = self.tags();
            own.all(|(other, found)| other != key || found == value)
        });
        read.kind.is_empty() || self.kind == read.kind && variant
    }

    fn label(&self) -> String {
        let tag = self.tags().next();
        tag.map_or_else(|| self.kind.clone(), |(_, value)| value.to_string())
    }
}

/// All forms that a value of the schema can have.
fn forms(document: &Value, schema: &Value) -> Vec<Form> {
    let name = name_of(schema).map(str::to_owned);
    let schema = resolve(document, schema);
    let alternatives = schema.get("oneOf").or_else(|| schema.get("anyOf"));
    let mut all = if let Some(alternatives) = alternatives {
        let forms = items(alternatives).flat_map(|it| forms(document, it));
        forms.collect()
    } else if let Some(parts) = schema.get("allOf") {
        items(parts).fold(vec![Form::default()], |all, part| {
            let part = forms(document, part);
            let both = all
                .iter()
                .flat_map(|form| part.iter().map(|it| form.and(it)));
            both.collect()
        })
    } else {
        match &schema["type"] {
            Value::Array(kinds) => kinds
                .iter()
                .map(|kind| Form::of(&text(kind), schema))
                .collect(),
            Value::String(kind) => vec![Form::of(kind, schema)],
            _ => vec![Form::of("", schema)],
        }
    };
    for form in &mut all {
        if form.kind == "null" {
            *form = Form::of("null", &Value::Null);
        } else {
            form.name = form.name.take().or_else(|| name.clone());
        }
    }
    all
}

/// What a reference leads to.
fn resolve<'a>(document: &'a Value, schema: &'a Value) -> &'a Value {
    match schema["$ref"].as_str().and_then(|it| it.strip_prefix('#')) {
        Some(place) => resolve(
            document,
            document
                .pointer(place)
                .expect("a reference leads somewhere"),
        ),
        None => schema,
    }
}

/// The name of a schema that is referred to.
fn name_of(schema: &Value) -> Option<&str> {
    schema["$ref"].as_str()?.rsplit('/').next()
}

fn members(object: &Value) -> impl Iterator<Item = (&String, &Value)> {
    object.as_object().into_iter().flatten()
}

fn items(array: &Value) -> impl Iterator<Item = &Value> {
    array.as_array().into_iter().flatten()
}

fn owned(object: &Value) -> BTreeMap<String, Value> {
    members(object)
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}
