//! What the published documents of the API say about requests and answers: every request of every test that is not refused has to fit
//! them, and so has every successful answer.
//!
//! The documents are read from where cargo keeps the crates that carry them: 0.8.0 is there because the generated client
//! depends on it, 0.1.4 because `tests/run` fetches it. Our own document is held to the same test.

use std::collections::HashMap;
use std::path::PathBuf;
use std::process::Command;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use jsonschema::{Draft, Validator};
use serde_json::{Value, json};

use super::http::Reply;

/// Where the documents contradict what barkd itself answers: a place, and what it should say.
static CORRECTIONS: LazyLock<Vec<(&str, Value)>> = LazyLock::new(|| {
    vec![
        // Declared as a number, but served as null when the server sets no limit (docs/protocol.md §24.1).
        (
            "/components/schemas/ArkInfo/properties/max_vtxo_amount/type",
            json!(["integer", "null"]),
        ),
        // Nullable since 0.8.0. A preimage that is secret is served as null (docs/protocol.md §24.3).
        (
            "/components/schemas/LightningReceiveInfo/properties/payment_preimage/type",
            json!(["string", "null"]),
        ),
    ]
});

/// Successful statuses that the published documents do not know, and the one whose form they have to have.
const STATUSES: &[(&str, &str, &str)] = &[
    // The payment is stored and goes on by itself; barkd waits without end.
    ("/api/v1/wallet/send", "202", "200"),
    ("/api/v1/lightning/pay", "202", "200"),
    // The transaction is signed, and is broadcast in the background.
    ("/api/v1/wallet/offboard/all", "202", "200"),
    ("/api/v1/wallet/offboard/vtxos", "202", "200"),
    ("/api/v1/wallet/send-onchain", "202", "200"),
];

/// Routes that the published documents do not declare.
const UNDECLARED: &[(&str, &str)] = &[
    // An older name of /wallet/create, which barkd does not declare either (docs/protocol.md §23.14).
    ("POST", "/api/v1/wallet"),
];

/// Routes that may be called without the body that the documents require, because all its fields are optional.
const BODILESS: &[&str] = &["/api/v1/wallet/offboard/all"];

/// Routes, by how they begin, whose answers 0.8.0 has changed so that none fits both documents: states of exits and of their
/// transactions have other names, and the lists have taken a path that was a VTXO's (docs/protocol.md §24.3).
const CHANGED: &[&str] = &["/api/v1/exits/status", "/api/v1/exits/progress"];

/// Our own document.
const OURS: &str = "ours";

/// Routes that barkd does not have, as our document writes them.
const ADDED: &[(&str, &str)] = &[
    ("POST", "/api/v1/wallet/rounds/{unlock_hash}/recover"),
    ("GET", "/api/v1/webhooks"),
    ("POST", "/api/v1/webhooks"),
    ("GET", "/api/v1/webhooks/{id}"),
    ("PATCH", "/api/v1/webhooks/{id}"),
    ("DELETE", "/api/v1/webhooks/{id}"),
    ("POST", "/api/v1/webhooks/{id}/rotate-secret"),
    ("POST", "/api/v1/webhooks/{id}/redeliver"),
    ("POST", "/api/v1/webhooks/{id}/test"),
    ("GET", "/api/v1/webhooks/{id}/deliveries"),
];

/// The oldest document, which does not know the routes that came later.
const OLDEST: &str = "0.1.4";

/// The newest document.
const NEWEST: &str = "0.8.0";

static DOCUMENTS: LazyLock<Vec<Document>> = LazyLock::new(|| {
    vec![
        Document::new(
            OURS,
            serde_json::to_value(arkwalletd::openapi()).expect("it is JSON"),
        ),
        Document::read(NEWEST),
        Document::read(OLDEST),
    ]
});

/// Reads the documents, which takes seconds. Daemons start later: meanwhile the servers of this test's world would not answer them.
pub fn load() {
    LazyLock::force(&DOCUMENTS);
}

/// Where cargo keeps the crate that carries a document.
pub fn published_folder(version: &str) -> PathBuf {
    let newest = manifest_of_dependency("bark-rest");
    let newest = newest.parent().expect("a manifest lies in a folder");
    let folder = newest.with_file_name(format!("bark-rest-{version}"));
    assert!(
        folder.exists(),
        "{} is missing; ./tests/run fetches it",
        folder.display()
    );
    folder
}

/// A document as it was published.
pub fn published_document(version: &str) -> Value {
    let file = published_folder(version).join("openapi.json");
    let text = std::fs::read_to_string(&file)
        .unwrap_or_else(|error| panic!("{} cannot be read: {error}", file.display()));
    serde_json::from_str(&text).expect("a document is JSON")
}

/// A document, with the validators that were needed so far.
struct Document {
    version: &'static str,
    document: Value,
    validators: Mutex<HashMap<String, Arc<Validator>>>,
}

/// A request as it was sent.
pub struct Sent {
    method: String,
    /// The path without the query.
    path: String,
    /// The names in the query.
    query: Vec<String>,
    /// The body, a string when it is no JSON; `None` when it is empty.
    body: Option<Value>,
}

impl Sent {
    /// What will be sent.
    pub fn of(request: &reqwest::Request) -> Sent {
        let url = request.url();
        let names = url.query_pairs().map(|(name, _)| name.into_owned());
        let body = request.body().and_then(reqwest::Body::as_bytes);
        let body = match body.unwrap_or_default() {
            [] => None,
            bytes => Some(
                serde_json::from_slice(bytes)
                    .unwrap_or_else(|_| String::from_utf8_lossy(bytes).into_owned().into()),
            ),
        };
        Sent {
            method: request.method().to_string(),
            path: url.path().to_owned(),
            query: names.collect(),
            body,
        }
    }
}

/// What is wrong with a request and its answer, by all documents; empty when they fit. A request that is refused is meant to be wrong.
pub fn complaints(sent: &Sent, reply: &Reply) -> Vec<String> {
    let (method, path) = (sent.method.as_str(), sent.path.as_str());
    let concerned = path.starts_with("/api/v1/") && ["GET", "POST", "DELETE"].contains(&method);
    if !concerned || (400..500).contains(&reply.status) {
        return Vec::new();
    }
    let mut all = Vec::new();
    let changed = CHANGED.iter().any(|route| path.starts_with(route));
    // Asks for notifications that published clients do not know.
    let asks_for_more = sent.query.iter().any(|name| name == "types");
    for document in DOCUMENTS.iter() {
        if changed && document.version == OLDEST || asks_for_more && document.version != OURS {
            continue;
        }
        let mut found = document.request_complaints(sent);
        if (200..300).contains(&reply.status) {
            found.extend(document.complaints(method, path, reply));
        }
        let version = document.version;
        let named = found.into_iter();
        all.extend(named.map(|it| format!("{method} {path}, document {version}: {it}")));
    }
    all
}

impl Document {
    fn new(version: &'static str, document: Value) -> Document {
        Document {
            version,
            document,
            validators: Mutex::default(),
        }
    }

    /// A published document, with its corrections.
    fn read(version: &'static str) -> Document {
        let mut document = published_document(version);
        for (place, correction) in CORRECTIONS.iter() {
            let wrong = document.pointer_mut(place);
            *wrong.expect("what is corrected is there") = correction.clone();
        }
        Document::new(version, document)
    }

    fn complaints(&self, method: &str, path: &str, reply: &Reply) -> Vec<String> {
        let Some((template, operation)) = self.operation(method, path) else {
            let added = |(verb, template): &&(&str, &str)| *verb == method && fits(template, path);
            let barkd_lacks = self.version != OURS && ADDED.iter().any(|route| added(&route));
            let known = self.version == OLDEST || UNDECLARED.contains(&(method, path));
            return if known || barkd_lacks {
                Vec::new()
            } else {
                vec!["there is no such route".to_owned()]
            };
        };
        let status = reply.status.to_string();
        let responses = &operation["responses"];
        let mut response = &responses[&status];
        if response.is_null() {
            let stands_for = STATUSES
                .iter()
                .find(|(route, ours, _)| (*route, *ours) == (template, &status));
            response = stands_for.map_or(response, |(_, _, theirs)| &responses[*theirs]);
        }
        if response.is_null() {
            return vec![format!("status {status} is not declared")];
        }
        let schema = &response["content"]["application/json"]["schema"];
        if schema.is_null() {
            let empty = reply.body.is_null();
            return if empty {
                Vec::new()
            } else {
                vec!["the body should be empty".to_owned()]
            };
        }
        let kind = reply.headers.get("content-type");
        if kind.is_none_or(|kind| kind != "application/json") {
            return vec![format!("the content type is {kind:?}")];
        }
        match self.validator(schema).validate(&reply.body) {
            Ok(()) => Vec::new(),
            Err(errors) => errors
                .filter(|error| self.version != OLDEST || !is_exited(&error.instance))
                .map(|error| format!("{}: {error}", error.instance_path))
                .collect(),
        }
    }

    /// What is wrong with a request, if its route is declared.
    fn request_complaints(&self, sent: &Sent) -> Vec<String> {
        let Some((template, operation)) = self.operation(&sent.method, &sent.path) else {
            return Vec::new();
        };
        let mut found = Vec::new();
        let declared = operation["parameters"].as_array();
        let declared: Vec<_> = declared
            .into_iter()
            .flatten()
            .filter(|parameter| parameter["in"] == "query")
            .collect();
        for name in &sent.query {
            // Ours declares what we add to the published ones.
            let known = declared
                .iter()
                .any(|parameter| parameter["name"] == name.as_str());
            if !known && self.version == OURS {
                found.push(format!("the query has no {name}"));
            }
        }
        for parameter in declared {
            let name = parameter["name"].as_str().unwrap_or_default();
            if parameter["required"] == true && !sent.query.iter().any(|sent| sent == name) {
                found.push(format!("the query lacks {name}"));
            }
        }
        let body = &operation["requestBody"];
        // Each body is JSON, of one kind or another.
        let kinds = body["content"].as_object();
        let schema = kinds.and_then(|kinds| kinds.values().next()?.get("schema"));
        let Some(given) = &sent.body else {
            if body["required"] == true && !BODILESS.contains(&template) {
                found.push("the body is missing".to_owned());
            }
            return found;
        };
        let Some(schema) = schema else {
            if !given.is_null() {
                found.push("there should be no body".to_owned());
            }
            return found;
        };
        if let Err(errors) = self.validator(schema).validate(given) {
            found.extend(errors.map(|error| format!("request {}: {error}", error.instance_path)));
        }
        found
    }

    /// The operation behind a path, and the path as the document writes it. A literal path goes before one with parameters.
    fn operation(&self, method: &str, path: &str) -> Option<(&str, &Value)> {
        let paths = self.document["paths"]
            .as_object()
            .expect("a document has paths");
        paths
            .iter()
            .filter(|(template, _)| fits(template, path))
            .filter_map(|(template, operations)| {
                let operation = operations.get(method.to_ascii_lowercase())?;
                Some((template.as_str(), operation))
            })
            .min_by_key(|(template, _)| template.matches('{').count())
    }

    fn validator(&self, schema: &Value) -> Arc<Validator> {
        let mut validators = self
            .validators
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let validator = validators.entry(schema.to_string()).or_insert_with(|| {
            let mut root = schema.clone();
            root["components"] = self.document["components"].clone();
            let validator = jsonschema::options()
                .with_draft(Draft::Draft202012)
                .should_validate_formats(true)
                .build(&root);
            Arc::new(validator.expect("the document's schemas are right"))
        });
        Arc::clone(validator)
    }
}

/// Whether this is the state of an exited VTXO, which the oldest document lacks.
fn is_exited(value: &Value) -> bool {
    value["type"] == "exited"
}

/// Whether `path` is an instance of `template`.
fn fits(template: &str, path: &str) -> bool {
    let (template, path) = (template.split('/'), path.split('/'));
    template.clone().count() == path.clone().count()
        && template
            .zip(path)
            .all(|(expected, given)| expected.starts_with('{') || expected == given)
}

/// Where cargo keeps a package that this one depends on, however deep.
fn manifest_of_dependency(name: &str) -> PathBuf {
    let output = Command::new(cargo())
        .args(["metadata", "--format-version", "1", "--offline", "--locked"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo can be run");
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| {
        panic!(
            "cargo metadata needs the crates of all platforms, which ./tests/run fetches: {}",
            String::from_utf8_lossy(&output.stderr)
        )
    });
    let packages = metadata["packages"].as_array().expect("there are packages");
    let package = packages.iter().find(|package| package["name"] == name);
    let manifest = package.and_then(|package| package["manifest_path"].as_str());
    manifest.expect("the package is a dependency").into()
}

/// The cargo that runs this test.
fn cargo() -> String {
    std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned())
}
