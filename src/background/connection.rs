//! Keeps the connection to the Ark server, and the truth about it.

use std::sync::Arc;
use std::time::Duration;

use super::Failing;
use crate::wallet::Wallet;

/// How often the server is asked for a sign of life; also how soon a lost connection is tried again.
const HEARTBEAT: Duration = Duration::from_secs(1);

pub(super) async fn run(wallet: Arc<Wallet>) {
    let mut failing = Failing::default();
    loop {
        let was_connected = wallet.is_connected();
        let info = failing.note(
            "no connection to the Ark server",
            wallet.check_server().await,
        );
        if let Some(info) = info.filter(|_| !was_connected) {
            tracing::info!(server = %info.server_pubkey, "connected to the Ark server");
        }
        tokio::select! {
            () = tokio::time::sleep(HEARTBEAT) => {}
            () = wallet.connection_suspicion() => {}
        }
    }
}
