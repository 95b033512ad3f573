//! The single row that identifies the wallet and its server (docs/protocol.md §2.1).

use bitcoin::Network;
use bitcoin::bip32::Fingerprint;
use bitcoin::secp256k1::PublicKey;
use rusqlite::{Connection, OptionalExtension, params};

use super::{Error, WriteTx};

/// The identity of the wallet and its server.
#[derive(Clone, Debug)]
pub struct WalletRow {
    /// The bitcoin network.
    pub network: Network,
    /// The fingerprint of m/350'.
    pub fingerprint: Fingerprint,
    /// The server's pinned public key and mailbox key, `None` before the first contact.
    pub server_keys: Option<(PublicKey, PublicKey)>,
}

/// Writes the row of a new wallet.
///
/// # Errors
/// The database holds a wallet already.
pub fn insert(tx: &WriteTx<'_>, network: Network, fingerprint: Fingerprint) -> Result<(), Error> {
    tx.execute(
        "INSERT INTO wallet (id, network, fingerprint) VALUES (1, ?1, ?2)",
        params![network.to_string(), fingerprint.to_bytes()],
    )?;
    Ok(())
}

/// Reads the row; `None` in a database whose wallet was not completely created.
pub fn get(connection: &Connection) -> Result<Option<WalletRow>, Error> {
    type Columns = (String, [u8; 4], Option<Vec<u8>>, Option<Vec<u8>>);
    let columns: Option<Columns> = connection
        .query_row(
            "SELECT network, fingerprint, server_pubkey, mailbox_pubkey FROM wallet",
            [],
            |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)),
        )
        .optional()?;
    let Some((network, fingerprint, server, mailbox)) = columns else {
        return Ok(None);
    };
    let network = network
        .parse()
        .map_err(|error| Error::corrupt("network", error))?;
    let key = |bytes: Vec<u8>| {
        PublicKey::from_slice(&bytes).map_err(|error| Error::corrupt("server key", error))
    };
    let server_keys = match (server, mailbox) {
        (Some(server), Some(mailbox)) => Some((key(server)?, key(mailbox)?)),
        _ => None,
    };
    Ok(Some(WalletRow {
        network,
        fingerprint: Fingerprint::from(fingerprint),
        server_keys,
    }))
}

/// Pins the server's public key and mailbox key, unless keys are pinned already. Returns the pinned ones.
pub fn pin_server(
    tx: &WriteTx<'_>,
    server: PublicKey,
    mailbox: PublicKey,
) -> Result<(PublicKey, PublicKey), Error> {
    tx.execute(
        "UPDATE wallet SET server_pubkey = ?1, mailbox_pubkey = ?2 WHERE server_pubkey IS NULL",
        params![server.serialize(), mailbox.serialize()],
    )?;
    get(tx)?
        .and_then(|row| row.server_keys)
        .ok_or_else(|| Error::Conflict("the database holds no wallet".into()))
}
