//! The server as a wallet sees it: a real connection over loopback, real transactions on the sandbox chain.

mod arkoor;
mod board;
mod chains;
mod claim;
mod delegated;
mod exits;
mod faults;
mod lightning;
mod mailbox;
mod offboard;
mod participant;
mod recovery;
mod retries;
mod round;
mod round_faults;
mod server;
mod stranger;
mod unilateral;
mod watchman;

use std::time::Duration;

use ark_lib::arkoor::ArkoorDestination;
use ark_lib::arkoor::package::{ArkoorPackageBuilder, ArkoorPackageCosignResponse};
use ark_lib::arkoor::state::UserGeneratedNonces;
use ark_lib::board::{BoardBuilder, BoardCosignResponse, state::CanFinish};
use ark_lib::vtxo::Full;
use ark_lib::{ArkInfo, ProtocolEncoding, SECP, Vtxo, VtxoPolicy};
use bitcoin::absolute::LockTime;
use bitcoin::consensus::encode::serialize;
use bitcoin::opcodes::OP_TRUE;
use bitcoin::secp256k1::{Keypair, PublicKey, rand::thread_rng};
use bitcoin::transaction::Version;
use bitcoin::{
    Amount, FeeRate, Network, OutPoint, ScriptBuf, Sequence, Transaction, TxIn, TxOut, Witness,
};
use bitcoin_ext::BlockHeight;
use server_rpc::ServerConnection;
use server_rpc::protos;
use server_rpc::tonic::Status;

use super::{Action, ArkServer, ArkServerOptions, Fault, Params};
use crate::chain::{Chain, Unspent};

/// Spends of this script need no key, so that a test can pay without a wallet.
fn anyone_can_spend() -> ScriptBuf {
    ScriptBuf::builder().push_opcode(OP_TRUE).into_script()
}

fn sat(amount: u64) -> Amount {
    Amount::from_sat(amount)
}

fn new_key() -> Keypair {
    Keypair::new(&*SECP, &mut thread_rng())
}

fn fault(target: &str, action: Action) -> Fault {
    Fault {
        target: target.to_owned(),
        skip: 0,
        times: Some(1),
        action,
    }
}

/// A chain with money, and a server on it.
struct Sandbox {
    chain: Chain,
    server: ArkServer,
}

impl Sandbox {
    async fn start(params: Params) -> Sandbox {
        Sandbox::on(chains::simulated().await, params).await
    }

    /// A server on a chain with coins that anyone can spend.
    async fn on(chain: Chain, params: Params) -> Sandbox {
        let server = ArkServer::start(ArkServerOptions {
            chain: chain.clone(),
            params,
            directory: None,
            seed: None,
            port: 0,
            admin_port: Some(0),
        })
        .await
        .unwrap();
        let sandbox = Sandbox { chain, server };
        sandbox.fund_server().await;
        sandbox
    }

    /// Gives the server two coins.
    async fn fund_server(&self) {
        for _ in 0..2 {
            let payment = self
                .payment_to(TxOut {
                    value: Amount::from_int_btc(10),
                    script_pubkey: self.server.coin_address().script_pubkey(),
                })
                .await;
            self.mine_tx(&payment).await;
        }
    }

    async fn connect(&self) -> ServerConnection {
        ServerConnection::builder()
            .address(self.server.address())
            .network(Network::Regtest)
            .connect()
            .await
            .unwrap()
    }

    async fn wallet(&self) -> Wallet {
        let rpc = self.connect().await;
        Wallet {
            key: new_key(),
            info: rpc.ark_info().await,
            rpc,
        }
    }

    /// A coin that can be spent in the next block.
    async fn coin(&self) -> Unspent {
        let tip = self.chain.tip().await.unwrap().height;
        let coins = self.chain.unspent(&anyone_can_spend().to_p2wsh()).await;
        let ripe = |coin: &Unspent| {
            coin.height
                .is_some_and(|height| !coin.coinbase || tip + 1 - height >= 100)
        };
        coins.unwrap().into_iter().find(ripe).unwrap()
    }

    /// A transaction that pays `output`, not broadcast.
    async fn payment_to(&self, output: TxOut) -> Transaction {
        let coin = self.coin().await;
        let change = coin.output.value - output.value - sat(1_000);
        Transaction {
            version: Version::TWO,
            lock_time: LockTime::ZERO,
            input: vec![spend_of(coin.outpoint)],
            output: vec![
                output,
                TxOut {
                    value: change,
                    script_pubkey: coin.output.script_pubkey,
                },
            ],
        }
    }

    async fn mine_tx(&self, tx: &Transaction) {
        self.chain.submit(tx.clone()).await.unwrap().unwrap();
        self.chain.mine(1).await.unwrap();
    }

    /// A registered board.
    async fn board(&self, wallet: &Wallet, amount: Amount) -> Vtxo<Full> {
        let (builder, funding_tx) = self.prepare_board(wallet, amount).await;
        let request = wallet.board_request(&builder, &funding_tx, amount);
        let response = wallet.cosign_board(request).await.unwrap();
        assert!(builder.verify_cosign_response(&response));
        let vtxo = builder.build_vtxo(&response, &wallet.key).unwrap();
        self.mine_tx(&funding_tx).await;
        wallet.register_board(&vtxo).await.unwrap();
        vtxo
    }

    /// A board up to the point where the server is asked.
    async fn prepare_board(
        &self,
        wallet: &Wallet,
        amount: Amount,
    ) -> (BoardBuilder<CanFinish>, Transaction) {
        let tip = self.chain.tip().await.unwrap().height;
        let builder = BoardBuilder::new(
            wallet.key.public_key(),
            BlockHeight::new(tip) + wallet.info.vtxo_lifetime,
            wallet.info.server_pubkey,
            wallet.info.vtxo_exit_delta,
        );
        let funding_tx = self
            .payment_to(TxOut {
                value: amount,
                script_pubkey: builder.funding_script_pubkey(),
            })
            .await;
        let fee = wallet.info.fees.board.calculate(amount).unwrap();
        let builder = builder
            .set_funding_details(amount, fee, OutPoint::new(funding_tx.compute_txid(), 0))
            .unwrap()
            .generate_user_nonces();
        (builder, funding_tx)
    }

    /// Broadcasts what takes a VTXO on chain, one transaction a block.
    async fn exit(&self, vtxo: &Vtxo<Full>) {
        for item in vtxo.transactions() {
            self.mine_with_fee(item.tx).await;
        }
    }

    /// Mines a transaction together with a child that spends its anchor and pays the fee.
    async fn mine_with_fee(&self, tx: Transaction) {
        self.submit_with_fee(tx).await;
        self.chain.mine(1).await.unwrap();
    }

    async fn submit_with_fee(&self, tx: Transaction) {
        let anchor = u32::try_from(tx.output.len() - 1).unwrap();
        let coin = self.coin().await;
        let child = Transaction {
            version: Version(3),
            lock_time: LockTime::ZERO,
            input: vec![
                TxIn {
                    previous_output: OutPoint::new(tx.compute_txid(), anchor),
                    ..TxIn::default()
                },
                spend_of(coin.outpoint),
            ],
            output: vec![TxOut {
                value: coin.output.value - sat(5_000),
                script_pubkey: coin.output.script_pubkey,
            }],
        };
        let outcome = self.chain.submit_package(vec![tx, child]).await.unwrap();
        assert!(outcome.is_success(), "{outcome:?}");
    }
}

fn spend_of(outpoint: OutPoint) -> TxIn {
    TxIn {
        previous_output: outpoint,
        script_sig: ScriptBuf::new(),
        sequence: Sequence::MAX,
        witness: Witness::from_slice(&[anyone_can_spend().into_bytes()]),
    }
}

/// One key and a connection.
struct Wallet {
    key: Keypair,
    info: ArkInfo,
    rpc: ServerConnection,
}

/// A payment that waits for the server's signatures.
type Payment = ArkoorPackageBuilder<UserGeneratedNonces>;

impl Wallet {
    fn board_request(
        &self,
        builder: &BoardBuilder<CanFinish>,
        funding_tx: &Transaction,
        amount: Amount,
    ) -> protos::BoardCosignRequest {
        protos::BoardCosignRequest {
            amount: amount.to_sat(),
            utxo: OutPoint::new(funding_tx.compute_txid(), 0).serialize(),
            expiry_height: builder.expiry_height.to_u32(),
            user_pubkey: self.key.public_key().serialize().to_vec(),
            pub_nonce: builder.user_pub_nonce().serialize().to_vec(),
            funding_tx: serialize(funding_tx),
        }
    }

    async fn cosign_board(
        &self,
        request: protos::BoardCosignRequest,
    ) -> Result<BoardCosignResponse, Status> {
        let mut client = self.rpc.client.clone();
        let response = client.request_board_cosign(request).await?.into_inner();
        Ok(response.try_into()?)
    }

    async fn register_board(&self, vtxo: &Vtxo<Full>) -> Result<(), Status> {
        let request = protos::BoardVtxoRequest {
            board_vtxo: vtxo.serialize(),
        };
        let mut client = self.rpc.client.clone();
        client.register_board_vtxo(request).await.map(drop)
    }

    async fn register(&self, vtxos: impl IntoIterator<Item = &Vtxo<Full>>) -> Result<(), Status> {
        let request = protos::RegisterVtxoTransactionsRequest {
            vtxos: vtxos.into_iter().map(ProtocolEncoding::serialize).collect(),
        };
        let mut client = self.rpc.client.clone();
        client.register_vtxo_transactions(request).await.map(drop)
    }

    /// Spends `input` completely.
    fn payment(&self, input: &Vtxo<Full>, outputs: &[(PublicKey, u64)]) -> Payment {
        let outputs = outputs
            .iter()
            .map(|(key, amount)| ArkoorDestination {
                total_amount: sat(*amount),
                policy: VtxoPolicy::new_pubkey(*key),
            })
            .collect();
        ArkoorPackageBuilder::new_with_checkpoints([input.clone()], outputs)
            .unwrap()
            .generate_user_nonces(&[self.key])
            .unwrap()
    }

    async fn cosign(&self, payment: &Payment) -> Result<ArkoorPackageCosignResponse, Status> {
        let request = protos::ArkoorPackageCosignRequest::from(payment.cosign_request());
        let mut client = self.rpc.client.clone();
        let response = client.request_arkoor_cosign(request).await?.into_inner();
        Ok(response.try_into()?)
    }

    /// The outputs of a payment, complete with signatures, if those of the server are right.
    fn finish(
        &self,
        payment: Payment,
        response: ArkoorPackageCosignResponse,
    ) -> Option<Vec<Vtxo<Full>>> {
        let signed = payment.user_cosign(&[self.key], response).ok()?;
        Some(signed.build_signed_vtxos())
    }

    /// Pays and registers the outputs.
    async fn pay(&self, input: &Vtxo<Full>, outputs: &[(PublicKey, u64)]) -> Vec<Vtxo<Full>> {
        let payment = self.payment(input, outputs);
        let response = self.cosign(&payment).await.unwrap();
        let vtxos = self.finish(payment, response).unwrap();
        self.register(&vtxos).await.unwrap();
        vtxos
    }
}
