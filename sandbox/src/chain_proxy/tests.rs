//! The proxy before a server that counts what reaches it.

use std::sync::atomic::{AtomicU32, Ordering};

use axum::body::Bytes;
use axum::http::{HeaderMap, Method, Uri};

use super::*;

struct Bench {
    proxy: ChainProxy,
    passed: Arc<AtomicU32>,
    http: reqwest::Client,
}

impl Bench {
    /// The server behind answers with a number and what it was asked; as a node, it answers below `/node`.
    async fn new() -> Bench {
        let passed = Arc::new(AtomicU32::new(0));
        let counter = Arc::clone(&passed);
        let tell = move |method: Method, uri: Uri, headers: HeaderMap, body: Bytes| async move {
            let number = counter.fetch_add(1, Ordering::SeqCst) + 1;
            let auth = headers
                .get("authorization")
                .map(|value| value.to_str().unwrap().to_owned());
            let body = String::from_utf8(body.to_vec()).unwrap();
            Json(
                json!({"number": number, "method": method.as_str(), "path": uri.to_string(), "auth": auth, "body": body}),
            )
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, Router::new().fallback(tell)).await });
        let node = Some(format!("{base}/node"));
        let proxy = ChainProxy::start(format!("{base}/esplora"), node, 0)
            .await
            .unwrap();
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        Bench {
            proxy,
            passed,
            http,
        }
    }

    fn fault(&self, fault: Value) -> u64 {
        self.proxy
            .add(serde_json::from_value(fault).unwrap())
            .unwrap()
    }

    fn passed(&self) -> u32 {
        self.passed.load(Ordering::SeqCst)
    }

    async fn get(&self, path: &str) -> reqwest::Result<String> {
        let url = format!("{}{path}", self.proxy.url());
        self.http.get(url).send().await?.text().await
    }

    async fn number(&self, path: &str) -> u64 {
        let text = self.get(path).await.unwrap();
        serde_json::from_str::<Value>(&text).unwrap()["number"]
            .as_u64()
            .unwrap()
    }

    async fn call(&self, body: &Value) -> reqwest::Result<Value> {
        let request = self
            .http
            .post(self.proxy.url())
            .basic_auth("me", Some("secret"));
        request.json(body).send().await?.json().await
    }
}

#[tokio::test]
async fn without_rules_everything_gets_through_to_its_place() {
    let bench = Bench::new().await;
    let told: Value = serde_json::from_str(&bench.get("/tx/00?x=1").await.unwrap()).unwrap();
    assert_eq!(
        (&told["path"], &told["method"]),
        (&json!("/esplora/tx/00?x=1"), &json!("GET"))
    );
    let call = json!({"id": 3, "method": "getblock", "params": []});
    let told = bench.call(&call).await.unwrap();
    assert_eq!(told["path"], "/node/");
    assert_eq!(told["auth"], "Basic bWU6c2VjcmV0");
    assert_eq!(
        serde_json::from_str::<Value>(told["body"].as_str().unwrap()).unwrap(),
        call
    );
}

#[tokio::test]
async fn a_connection_breaks_before_or_after_the_request_or_within_the_answer() {
    let bench = Bench::new().await;
    for (action, passes) in [("drop_before", 0), ("drop_after", 1), ("cut", 1)] {
        let before = bench.passed();
        let id = bench.fault(json!({"target": "/tx", "times": 1, "action": {"type": action}}));
        let lost = bench.get("/tx").await.unwrap_err();
        assert_eq!(
            lost.is_body() || lost.is_decode(),
            action == "cut",
            "{action}: {lost:?}"
        );
        assert_eq!(bench.passed() - before, passes, "{action}");
        assert_eq!(bench.proxy.active()[0].fired, 1);
        bench.get("/tx").await.unwrap();
        assert!(bench.proxy.remove(id) && !bench.proxy.remove(id));
    }
}

#[tokio::test]
async fn a_stale_answer_is_the_first_since_the_rule() {
    let bench = Bench::new().await;
    assert_eq!(bench.number("/tip").await, 1);
    let id = bench.fault(json!({"target": "/tip", "action": {"type": "stale"}}));
    assert_eq!(
        (bench.number("/tip").await, bench.number("/tip").await),
        (2, 2)
    );
    assert_eq!(bench.number("/other").await, 3);
    assert_eq!(bench.number("/tip?x").await, 4, "another request");
    bench.proxy.remove(id);
    assert_eq!(bench.number("/tip").await, 5);
    bench.fault(json!({"target": "/tip", "action": {"type": "stale"}}));
    assert_eq!(
        (bench.number("/tip").await, bench.number("/tip").await),
        (6, 6)
    );
}

#[tokio::test]
async fn made_up_answers_fit_the_question() {
    let bench = Bench::new().await;
    bench.fault(
        json!({"target": "/fees", "action": {"type": "answer", "code": 429, "body": "slow down"}}),
    );
    let url = format!("{}/fees", bench.proxy.url());
    let answer = bench.http.get(url).send().await.unwrap();
    assert_eq!(answer.status(), 429);
    assert_eq!(answer.text().await.unwrap(), "slow down");
    bench.fault(json!({"target": "/list", "action": {"type": "answer", "body": []}}));
    assert_eq!(bench.get("/list").await.unwrap(), "[]");
    bench
        .fault(json!({"target": "estimate", "action": {"type": "answer", "body": {"result": {}}}}));
    let call = |id: u32| json!({"id": id, "method": "estimate"});
    let reply = |id: u32| json!({"jsonrpc": "2.0", "id": id, "result": {}});
    assert_eq!(bench.call(&call(7)).await.unwrap(), reply(7));
    let batch = bench.call(&json!([call(0), call(1)])).await.unwrap();
    assert_eq!(batch, json!([reply(0), reply(1)]));
    assert_eq!(bench.passed(), 0);
}

#[tokio::test]
async fn a_delayed_request_is_passed_on_in_the_end() {
    let bench = Bench::new().await;
    bench.fault(json!({"target": "*", "action": {"type": "delay", "ms": 30}}));
    let before = std::time::Instant::now();
    bench.get("/tx").await.unwrap();
    assert!(before.elapsed() >= std::time::Duration::from_millis(30));
}

#[tokio::test]
async fn rules_come_and_go_over_http() {
    let bench = Bench::new().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}/chain-faults", listener.local_addr().unwrap());
    let routes = bench.proxy.control_router();
    tokio::spawn(async move { axum::serve(listener, routes).await });
    let add = |fault: Value| bench.http.post(&base).json(&fault).send();
    let added = add(json!({"target": "*", "times": 1, "action": {"type": "drop_before"}})).await;
    let id = added.unwrap().json::<Value>().await.unwrap()["id"].clone();
    let wrong = add(json!({"target": "GET /tx", "action": {"type": "cut"}}))
        .await
        .unwrap();
    assert_eq!(wrong.status(), 400);
    assert!(wrong.json::<Value>().await.unwrap()["message"].is_string());
    bench.get("/tx").await.unwrap_err();
    let listed = bench.http.get(&base).send().await.unwrap();
    let fault = json!({"id": id, "target": "*", "skip": 0, "times": 1, "action": {"type": "drop_before"}, "seen": 1, "fired": 1});
    assert_eq!(listed.json::<Value>().await.unwrap(), json!([fault]));
    let gone = || bench.http.delete(format!("{base}/{id}")).send();
    assert_eq!(gone().await.unwrap().status(), 204);
    assert_eq!(gone().await.unwrap().status(), 404);
}
