//! Our document against the published ones.

use serde_json::{Value, json};

use super::compare::differences;
use super::differences::intended;
use crate::support::published_document;

fn ours() -> Value {
    serde_json::to_value(arkwalletd::openapi()).unwrap()
}

#[test]
fn only_intended_differences_separate_our_document_from_the_published_ones() {
    let mut problems = Vec::new();
    for version in ["0.8.0", "0.1.4"] {
        let found = differences(&ours(), &published_document(version));
        let intended = intended(version);
        let unintended = found.difference(&intended);
        problems.extend(unintended.map(|it| format!("{version}, not intended: {it}")));
        let gone = intended.difference(&found);
        problems.extend(gone.map(|it| format!("{version}, listed but gone: {it}")));
    }
    assert!(problems.is_empty(), "{problems:#?}");
}

/// Our document has no difference from itself, and `differences` names what `change` does to it.
#[track_caller]
fn names(change: impl FnOnce(&mut Value), difference: &str) {
    let theirs = ours();
    let mut ours = ours();
    change(&mut ours);
    let found = differences(&ours, &theirs);
    assert_eq!(found.into_iter().collect::<Vec<_>>(), [difference]);
}

#[test]
fn each_kind_of_difference_is_found() {
    let document = ours();
    assert!(differences(&document, &document).is_empty());
    fn at<'a>(document: &'a mut Value, place: &str) -> &'a mut Value {
        document.pointer_mut(place).unwrap()
    }
    fn schema<'a>(document: &'a mut Value, name: &str) -> &'a mut Value {
        at(document, &format!("/components/schemas/{name}"))
    }
    let tip = "/paths/~1api~1v1~1bitcoin~1tip";
    names(
        |it| *at(it, tip) = json!({}),
        "GET /api/v1/bitcoin/tip: is missing",
    );
    names(
        |it| at(it, tip)["get"]["operationId"] = json!("height"),
        "GET /api/v1/bitcoin/tip: operationId is \"height\"",
    );
    names(
        |it| at(it, tip)["get"]["responses"]["200"] = Value::Null,
        "GET /api/v1/bitcoin/tip 200: is missing",
    );
    names(
        |it| schema(it, "TipResponse")["properties"] = json!({}),
        "TipResponse.tip_height: is missing",
    );
    names(
        |it| schema(it, "TipResponse")["required"] = json!([]),
        "TipResponse.tip_height: may be absent",
    );
    names(
        |it| schema(it, "TipResponse")["properties"]["tip_height"] = json!({"type": "string"}),
        "TipResponse.tip_height: may be string",
    );
    names(
        |it| schema(it, "PaymentMethodType")["enum"] = Value::Null,
        "PaymentMethodType: may be any text",
    );
    names(
        |it| schema(it, "PaymentMethodType")["enum"] = json!(["ark", "cash"]),
        "PaymentMethodType: may be \"cash\"",
    );
    names(
        |it| {
            let request = schema(it, "RefreshRequest");
            request["properties"]["reason"] = json!({"type": "string"});
            request["required"] = json!(["vtxos", "reason"]);
        },
        "RefreshRequest.reason: is required",
    );
    names(
        |it| {
            let start = "/components/schemas/ExitState/oneOf/0/properties/type/enum/0";
            *at(it, start) = json!("begin");
        },
        "ExitState: may be \"begin\"",
    );
}
