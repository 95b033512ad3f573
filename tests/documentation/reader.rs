//! A reader who follows the examples of the documentation: sends them, and compares the answers.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::support::{Daemon, Reply};

/// Where the documentation contradicts the published API document, which generated clients are made from: the endpoint, the key, and
/// why the document counts.
const CONFLICTS: [(&str, &str, &str); 9] = [
    (
        "GET /wallet/ark-info",
        "network",
        "clients read bitcoin, not mainnet",
    ),
    (
        "GET /wallet/ark-info",
        "round_interval",
        "clients read a text such as 10m; round_interval_secs has the number",
    ),
    (
        "GET /wallet/vtxos",
        "vtxo.id",
        "an id is txid:vout, not hex alone",
    ),
    (
        "POST /wallet/import-vtxo",
        "vtxo.id",
        "an id is txid:vout, not hex alone",
    ),
    (
        "GET /wallet/history",
        "status",
        "clients read successful, not completed",
    ),
    (
        "GET /wallet/rounds",
        "status",
        "clients read an object; state has the phase as a word",
    ),
    (
        "POST /wallet/refresh/vtxos",
        "status",
        "clients read an object; state has the phase as a word",
    ),
    (
        "POST /wallet/refresh/all",
        "status",
        "clients read an object; state has the phase as a word",
    ),
    (
        "POST /wallet/refresh/counterparty",
        "status",
        "clients read an object; state has the phase as a word",
    ),
];

/// A daemon that follows the examples, which send no token.
pub struct Reader {
    pub daemon: Daemon,
    /// What stands for a placeholder.
    filled: Vec<(&'static str, String)>,
    /// The conflicts that were met.
    met: BTreeSet<(String, String)>,
}

impl Reader {
    /// Follows the examples with this daemon.
    pub fn new(daemon: Daemon) -> Reader {
        Reader {
            daemon,
            filled: Vec::new(),
            met: BTreeSet::new(),
        }
    }

    /// Sets what stands for a placeholder.
    pub fn fill(&mut self, placeholder: &'static str, value: impl Into<String>) {
        self.filled.retain(|(name, _)| *name != placeholder);
        self.filled.push((placeholder, value.into()));
    }

    /// A text with its placeholders filled in.
    pub fn filled(&self, text: &str) -> String {
        let fill = |text: String, (name, value): &(&str, String)| text.replace(name, value);
        self.filled.iter().fold(text.to_owned(), fill)
    }

    /// Sends a request with placeholders in its body.
    pub async fn request(&self, method: &str, path: &str, body: Option<&str>) -> Reply {
        let body = body.map(|body| self.filled(body));
        self.daemon
            .raw(method, &format!("/api/v1{path}"), |request| match body {
                Some(body) => request
                    .header("content-type", "application/json")
                    .body(body),
                None => request,
            })
            .await
    }

    /// Sends a documented request; its answer has to have the keys and types of the documented one.
    pub async fn example(&mut self, endpoint: &str, body: Option<&str>, documented: &str) -> Value {
        let (method, path) = endpoint.split_once(' ').expect("a method and a path");
        let answer = self.request(method, path, body).await.ok();
        self.compare(endpoint, documented, &answer);
        answer
    }

    /// Runs a documented command line of curl.
    pub async fn curl(&mut self, endpoint: &str, line: &str, documented: &str) -> Value {
        let Curl {
            method,
            path,
            headers,
            body,
        } = Curl::read(&self.filled(line));
        let (expected, route) = endpoint.split_once(' ').expect("a method and a path");
        let route = format!("/api/v1{route}");
        assert!(method == expected && path.starts_with(&route), "{line}");
        let answer = self.daemon.raw(&method, &path, |mut request| {
            for (name, value) in headers {
                request = request.header(name, value);
            }
            match body {
                Some(body) => request.body(body),
                None => request,
            }
        });
        let answer = answer.await.ok();
        self.compare(endpoint, documented, &answer);
        answer
    }

    /// Asserts that the answer has what the documentation shows. In a list, one entry has to.
    fn compare(&mut self, endpoint: &str, documented: &str, answer: &Value) {
        if documented.is_empty() {
            assert_eq!(*answer, Value::Null, "{endpoint}");
            return;
        }
        let documented: Value = serde_json::from_str(documented).expect("examples are JSON");
        let (documented, answers) = match (&documented, answer) {
            (Value::Array(documented), Value::Array(answers)) => {
                (&documented[0], answers.as_slice())
            }
            _ => (&documented, std::slice::from_ref(answer)),
        };
        let lacks: Vec<_> = answers
            .iter()
            .map(|answer| self.lacks(endpoint, "", documented, answer))
            .collect();
        assert!(
            lacks.iter().any(Vec::is_empty),
            "{endpoint} lacks {lacks:#?} in {answer:#}"
        );
    }

    /// The conflicts that no answer had: they are conflicts no more.
    pub fn outdated(&self) -> Vec<(&str, &str, &str)> {
        let is_met = |(of, key, _): &(&str, &str, &str)| {
            self.met.contains(&((*of).to_owned(), (*key).to_owned()))
        };
        let mut all = CONFLICTS.to_vec();
        all.retain(|conflict| !is_met(conflict));
        all
    }

    /// The documented keys that an answer lacks or has as another type, but for the conflicts.
    fn lacks(
        &mut self,
        endpoint: &str,
        place: &str,
        documented: &Value,
        answer: &Value,
    ) -> Vec<String> {
        let conflict = CONFLICTS
            .iter()
            .find(|(of, key, _)| (*of, *key) == (endpoint, place));
        if conflict.is_some() && !answer.is_null() {
            self.met.insert((endpoint.to_owned(), place.to_owned()));
            return Vec::new();
        }
        match (documented, answer) {
            (Value::Object(documented), Value::Object(_)) => documented
                .iter()
                .flat_map(|(key, value)| {
                    let place = if place.is_empty() {
                        key.clone()
                    } else {
                        format!("{place}.{key}")
                    };
                    self.lacks(endpoint, &place, value, &answer[key])
                })
                .collect(),
            (Value::Array(documented), Value::Array(answers)) => answers
                .iter()
                .flat_map(|answer| self.lacks(endpoint, place, &documented[0], answer))
                .collect(),
            (Value::Bool(_), Value::Bool(_))
            | (Value::Number(_), Value::Number(_))
            | (Value::String(_), Value::String(_)) => Vec::new(),
            _ => vec![place.to_owned()],
        }
    }
}

/// A command line of curl.
struct Curl {
    method: String,
    /// Path and query.
    path: String,
    headers: Vec<(String, String)>,
    body: Option<String>,
}

impl Curl {
    fn read(line: &str) -> Curl {
        let mut curl = Curl {
            method: "GET".to_owned(),
            path: String::new(),
            headers: Vec::new(),
            body: None,
        };
        let mut words = words(line).into_iter();
        assert_eq!(words.next().as_deref(), Some("curl"));
        while let Some(word) = words.next() {
            let mut value = || words.next().expect("a value");
            match word.as_str() {
                "-X" => curl.method = value(),
                "-H" => {
                    let header = value();
                    let (name, value) = header.split_once(": ").expect("a header");
                    curl.headers.push((name.to_owned(), value.to_owned()));
                }
                "-d" => curl.body = Some(value()),
                url => {
                    let path = url.strip_prefix("http://localhost:3000");
                    path.expect("the host of the examples")
                        .clone_into(&mut curl.path);
                }
            }
        }
        curl
    }
}

/// The words of a command line, of which quotes may keep blanks together.
fn words(line: &str) -> Vec<String> {
    let line = line.replace("\\\n", " ");
    let mut words = Vec::new();
    let mut rest = line.trim();
    while let Some(first) = rest.chars().next() {
        let quote = ['\'', '"'].into_iter().find(|quote| *quote == first);
        let (word, behind) = match quote {
            Some(quote) => rest[1..].split_once(quote).expect("the quote ends"),
            None => rest.split_once(char::is_whitespace).unwrap_or((rest, "")),
        };
        words.push(word.to_owned());
        rest = behind.trim_start();
    }
    words
}
