//! A client that is generated from the document of barkd 0.1.4 calls every operation, and decodes every answer.
//!
//! The programs are in `oldest_client/`. What such a client cannot decode is in docs/compatibility.md.

use std::collections::BTreeSet;

use tempfile::TempDir;

use crate::support::{Daemon, World, creation, published_document, published_folder, run_tool};

const VERSION: &str = "0.1.4";

fn program(name: &str) -> String {
    format!(
        "{}/tests/contract/oldest_client/{name}",
        env!("CARGO_MANIFEST_DIR")
    )
}

/// The operations of the published document.
fn published() -> BTreeSet<String> {
    let document = published_document(VERSION);
    let paths = document["paths"].as_object().unwrap().values();
    let operations = paths.flat_map(|it| it.as_object().unwrap().values());
    let names = operations.map(|it| it["operationId"].as_str().unwrap().to_owned());
    names.collect()
}

#[tokio::test]
#[ignore = "needs the tools of tests/python"]
async fn the_client_of_0_1_4_decodes_every_answer() {
    let world = World::new().await;
    world.fund_server(1_000_000).await;
    let daemon = Daemon::start().await;
    let folder = TempDir::new().unwrap();
    let folder = folder.path().to_str().unwrap();
    let document = published_folder(VERSION).join("openapi.json");
    let document = document.to_str().unwrap();
    run_tool("python", &[&program("generate.py"), document, folder]).await;

    let url = format!("http://127.0.0.1:{}", daemon.port());
    let control = &world.sandbox.control_url;
    let creation = creation(&world, world.chain_source()).to_string();
    let drive = program("drive.py");
    let arguments = [&drive, folder, &url, daemon.token(), control, &creation];
    let printed = run_tool("python", &arguments).await;
    let called: BTreeSet<String> = serde_json::from_str(printed.trim()).unwrap();
    let operations = published();
    assert_eq!(operations.len(), 57);
    assert_eq!(called, operations, "every operation is called");
}
