//! A payer who speaks to the Ark server himself, keeps what a wallet would upload, and publishes what he likes.

use ark_lib::address::VtxoDelivery;
use ark_lib::arkoor::ArkoorDestination;
use ark_lib::arkoor::package::ArkoorPackageBuilder;
use ark_lib::board::BoardBuilder;
use ark_lib::vtxo::Full;
use ark_lib::vtxo::policy::PubkeyVtxoPolicy;
use ark_lib::vtxo::policy::clause::TapScriptClause;
use ark_lib::{Address, ArkInfo, ProtocolEncoding, SECP, Vtxo};
use bitcoin::absolute::LockTime;
use bitcoin::consensus::encode::serialize;
use bitcoin::key::Keypair;
use bitcoin::secp256k1::rand::thread_rng;
use bitcoin::sighash::{Prevouts, SighashCache};
use bitcoin::taproot::{LeafVersion, TapLeafHash};
use bitcoin::transaction::Version;
use bitcoin::{
    Amount, FeeRate, Network, OutPoint, ScriptBuf, TapSighashType, Transaction, TxIn, TxOut,
    Witness,
};
use bitcoin_ext::BlockHeight;
use server_rpc::protos::mailbox_server;
use server_rpc::{ServerConnection, protos};

use crate::support::World;

/// Taken off a claim for the miners, in sat.
const CLAIM_FEE: u64 = 500;

pub struct Payer {
    key: Keypair,
    rpc: ServerConnection,
    info: ArkInfo,
}

impl Payer {
    pub async fn connect(world: &World) -> Payer {
        let rpc = ServerConnection::builder()
            .address(&world.sandbox.ark_url)
            .network(Network::Regtest)
            .connect()
            .await
            .expect("the server runs");
        Payer {
            key: Keypair::new(&SECP, &mut thread_rng()),
            info: rpc.ark_info().await,
            rpc,
        }
    }

    /// Boards coins of the faucet.
    pub async fn board(&self, world: &World, sats: u64) -> Vtxo<Full> {
        let amount = Amount::from_sat(sats);
        let expiry = BlockHeight::new(world.height().await) + self.info.vtxo_lifetime;
        let builder = BoardBuilder::new(
            self.key.public_key(),
            expiry,
            self.info.server_pubkey,
            self.info.vtxo_exit_delta,
        );
        let output = TxOut {
            value: amount,
            script_pubkey: builder.funding_script_pubkey(),
        };
        let fee = self.info.fees.board.calculate(amount);
        let fee = fee.expect("a fee of this amount");
        let faucet = &world.sandbox.faucet;
        let rate = FeeRate::from_sat_per_vb_u32(2);
        let funded = faucet.fund(vec![output], rate).await.expect("it has coins");
        let utxo = OutPoint::new(funded.tx.compute_txid(), 0);
        let builder = builder
            .set_funding_details(amount, fee, utxo)
            .expect("more than the fee")
            .generate_user_nonces();
        let request = protos::BoardCosignRequest {
            amount: sats,
            utxo: utxo.serialize(),
            expiry_height: expiry.to_u32(),
            user_pubkey: self.key.public_key().serialize().to_vec(),
            pub_nonce: builder.user_pub_nonce().serialize().to_vec(),
            funding_tx: serialize(&funded.tx),
        };
        let mut client = self.rpc.client.clone();
        let cosigned = client.request_board_cosign(request).await.expect("signed");
        let cosigned = cosigned.into_inner().try_into().expect("it decodes");
        let vtxo = builder.build_vtxo(&cosigned, &self.key).expect("it fits");
        let signed = faucet.sign(funded.tx).await.expect("its own coins");
        world.submit(vec![signed]).await;
        faucet.release(funded.lock).await;
        world.mine(1).await;
        let board_vtxo = vtxo.serialize();
        let request = protos::BoardVtxoRequest { board_vtxo };
        client.register_board_vtxo(request).await.expect("deep");
        vtxo
    }

    /// Spends `input` as a whole to an address, in pieces of these amounts. Uploads and posts nothing.
    pub async fn sign(&self, input: &Vtxo<Full>, to: &Address, pieces: &[u64]) -> Vec<Vtxo<Full>> {
        let outputs = pieces.iter().map(|sats| ArkoorDestination {
            total_amount: Amount::from_sat(*sats),
            policy: to.policy().clone(),
        });
        let payment =
            ArkoorPackageBuilder::new_with_checkpoints([input.clone()], outputs.collect())
                .expect("the amounts add up")
                .generate_user_nonces(&[self.key])
                .expect("one key for each input");
        let request = protos::ArkoorPackageCosignRequest::from(payment.cosign_request());
        let mut client = self.rpc.client.clone();
        let cosigned = client.request_arkoor_cosign(request).await.expect("signed");
        let cosigned = cosigned.into_inner().try_into().expect("it decodes");
        let signed = payment.user_cosign(&[self.key], cosigned);
        signed.expect("it fits").build_signed_vtxos()
    }

    /// Uploads signed chains, as an honest payer does.
    pub async fn upload(&self, vtxos: &[Vtxo<Full>]) {
        let vtxos = vtxos.iter().map(ProtocolEncoding::serialize).collect();
        let request = protos::RegisterVtxoTransactionsRequest { vtxos };
        let mut client = self.rpc.client.clone();
        let uploaded = client.register_vtxo_transactions(request).await;
        uploaded.expect("the chains are signed");
    }

    /// Posts VTXOs to the mailbox of an address.
    pub async fn post(&self, to: &Address, vtxos: &[Vtxo<Full>]) {
        let mut mailboxes = to.delivery().iter();
        let mailbox = mailboxes.find_map(|delivery| match delivery {
            VtxoDelivery::ServerMailbox { blinded_id } => Some(blinded_id.serialize()),
            _ => None,
        });
        let request = mailbox_server::PostArkoorMessageRequest {
            blinded_id: mailbox.expect("the address has a mailbox"),
            vtxos: vtxos.iter().map(ProtocolEncoding::serialize).collect(),
        };
        let mut client = self.rpc.mailbox_client.clone();
        client.post_arkoor_message(request).await.expect("posted");
    }

    /// A transaction that takes an exited VTXO of the payer to the faucet. It is valid `exit_delta` blocks after the exit.
    pub fn claim(&self, world: &World, exited: &Vtxo<Full>) -> Transaction {
        let policy = PubkeyVtxoPolicy {
            user_pubkey: self.key.public_key(),
        };
        let clause = policy.user_pubkey_claim_clause(exited.exit_delta());
        let mut claim = Transaction {
            version: Version::TWO,
            lock_time: LockTime::ZERO,
            input: vec![TxIn {
                previous_output: exited.point(),
                script_sig: ScriptBuf::new(),
                sequence: clause.sequence(),
                witness: Witness::new(),
            }],
            output: vec![TxOut {
                value: exited.amount() - Amount::from_sat(CLAIM_FEE),
                script_pubkey: world.sandbox.faucet.address().script_pubkey(),
            }],
        };
        let leaf = TapLeafHash::from_script(&clause.tapscript(), LeafVersion::TapScript);
        let hash = SighashCache::new(&claim)
            .taproot_script_spend_signature_hash(
                0,
                &Prevouts::All(&[exited.txout()]),
                leaf,
                TapSighashType::Default,
            )
            .expect("all outputs that it spends are known");
        let signature = SECP.sign_schnorr(&hash.into(), &self.key);
        claim.input[0].witness = clause.witness(&signature, &clause.control_block(exited));
        claim
    }
}
