//! `arkwalletd sandbox` as a process.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;
use tokio::process::Command;

use arkwalletd_sandbox::testing::free_port;

use crate::support::program;

/// Starting the sandbox includes mining its first blocks and a board.
const START: Duration = Duration::from_secs(120);

/// The first of five consecutive free ports.
fn five_free_ports() -> u16 {
    loop {
        let ports: [u16; 5] = std::array::from_fn(|_| free_port());
        if ports.windows(2).all(|pair| pair[1] == pair[0] + 1) {
            return ports[0];
        }
    }
}

/// The token of the first wallet, which the sandbox prints once both wallets are ready.
async fn printed_token(output: &Path) -> String {
    loop {
        let text = std::fs::read_to_string(output).unwrap();
        let token = text
            .lines()
            .find_map(|line| line.trim().strip_prefix("token 1"));
        if let Some(token) = token {
            return token.trim().to_owned();
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn the_sandbox_ignores_the_variables_of_a_real_daemon() {
    let real = TempDir::new().unwrap();
    let own = TempDir::new().unwrap();
    let output = own.path().join("stdout");
    let first = five_free_ports();
    let ark = first + 4;
    let mut sandbox = Command::new(program())
        .args(["sandbox", "--port", &first.to_string()])
        .args(["--ark-port", &ark.to_string()])
        .env("HOME", real.path())
        .env("BARKD_DATADIR", real.path())
        .env("BARK_LOGFILE", real.path().join("debug.log"))
        .env("BARKD_BIND_PORT", "1")
        .env("BARKD_BIND_HOST", "not an address")
        .env("BARKD_ALLOWED_ORIGINS", "*")
        .env("BARKD_EXPOSE_MNEMONIC", "not a flag")
        .env("BARK_ESPLORA_ADDRESS", "http://127.0.0.1:1")
        .env("BARK_SERVER_ADDRESS", "http://127.0.0.1:1")
        .env("BARK_SOCKS5_PROXY", "not a proxy")
        .env("BARK_DAEMON_MANUAL_SYNC", "true")
        .stdin(Stdio::null())
        .stdout(std::fs::File::create(&output).unwrap())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let token = tokio::select! {
        token = tokio::time::timeout(START, printed_token(&output)) => token.expect("the sandbox starts in time"),
        status = sandbox.wait() => panic!("the sandbox ended at its start: {status:?}"),
    };
    let balance: Value = reqwest::Client::new()
        .get(format!("http://127.0.0.1:{first}/api/v1/wallet/balance"))
        .bearer_auth(token)
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    assert!(balance["spendable_sat"].as_u64() > Some(0), "{balance}");

    let pid = i32::try_from(sandbox.id().unwrap()).unwrap();
    let pid = rustix::process::Pid::from_raw(pid).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    assert!(sandbox.wait().await.unwrap().success());
    let written = std::fs::read_dir(real.path()).unwrap().count();
    assert_eq!(written, 0, "the real datadir stays empty");
}
