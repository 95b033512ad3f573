//! Lightning as a wallet sees it, call by call.

mod attempts;
mod claim;
mod control;
mod intra;
mod messages;
mod offer;
pub(super) mod onchain;
mod pay;
mod prepare;
mod receive;
mod revoke;

use ark_lib::VtxoId;
use ark_lib::lightning::{Invoice, PaymentHash, Preimage};
use server_rpc::protos::lightning_payment_status::PaymentStatus;
use server_rpc::protos::mailbox_server::mailbox_message::Message;
use server_rpc::protos::{LightningReceiveStatus, VtxoSpendState};
use server_rpc::tonic::Code;

use super::*;
use crate::lightning::{FailureReason, InvoiceRequest, Outcome};

/// What the wallets of these tests ask for in invoices.
const MIN_CLTV: u32 = 50;
/// Blocks until the HTLCs of a payment expire.
const SEND_DELTA: u32 = 100;

const NO_ROUTE: Outcome = Outcome::Fail {
    reason: FailureReason::NoRoute,
    delay_ms: 0,
};

/// Checks the code and a part of the text of a refusal.
fn refused<T: std::fmt::Debug>(result: Result<T, Status>, code: Code, text: &str) {
    let status = result.unwrap_err();
    assert_eq!(status.code(), code, "{status}");
    assert!(status.message().contains(text), "{status}");
    if code == Code::InvalidArgument {
        assert!(server_rpc::StatusExt::rejected_vtxos(&status).is_empty());
    }
}

async fn start(params: Params) -> (Sandbox, Wallet) {
    let sandbox = Sandbox::start(params).await;
    let wallet = sandbox.wallet().await;
    (sandbox, wallet)
}

impl Sandbox {
    async fn tip(&self) -> u32 {
        self.chain.tip().await.unwrap().height
    }

    /// Waits until the server has done what is due.
    async fn jobs(&self) {
        self.server.run_lightning_jobs().await.unwrap();
    }

    /// Lets time pass, and waits until the server has done what is due.
    async fn advance(&self, seconds: u64) {
        let clock = self.server.lightning().clock().clone();
        clock.advance(Duration::from_secs(seconds));
        self.jobs().await;
    }

    async fn mine_blocks(&self, blocks: u32) {
        self.chain.mine(blocks).await.unwrap();
        self.jobs().await;
    }

    fn world_invoice(&self, amount: u64, outcome: Outcome) -> Invoice {
        let request = InvoiceRequest {
            amount_msat: Some(amount * 1_000),
            outcome,
            ..InvoiceRequest::default()
        };
        Invoice::Bolt11(self.server.lightning().issue(request).unwrap())
    }

    /// The world pays an invoice of a wallet.
    async fn world_pays(&self, invoice: &str) {
        let invoice = invoice.parse().unwrap();
        let tip = self.tip().await;
        let network = self.server.lightning();
        network.world_pays(&invoice, None, 0, tip).unwrap();
        self.jobs().await;
    }

    fn earned(&self) -> i64 {
        self.server.lightning_ledger().unwrap().earned_msat
    }

    fn state(&self, id: VtxoId) -> String {
        self.server.vtxo(id).unwrap().unwrap().state.to_string()
    }
}

impl Wallet {
    async fn reconnected(self, sandbox: &Sandbox) -> Wallet {
        Wallet {
            rpc: sandbox.connect().await,
            ..self
        }
    }

    /// Spends `input` to an HTLC and change.
    fn htlc_payment(
        &self,
        input: &Vtxo<Full>,
        hash: PaymentHash,
        amount: u64,
        expiry: u32,
    ) -> Payment {
        let me = self.key.public_key();
        let policy = VtxoPolicy::new_server_htlc_send(me, hash, BlockHeight::new(expiry));
        self.spend(input, &[(policy, amount)])
    }

    /// Spends `input` to these outputs and change.
    fn spend(&self, input: &Vtxo<Full>, outputs: &[(VtxoPolicy, u64)]) -> Payment {
        let mut outputs: Vec<ArkoorDestination> = outputs
            .iter()
            .map(|(policy, amount)| ArkoorDestination {
                total_amount: sat(*amount),
                policy: policy.clone(),
            })
            .collect();
        let sum: Amount = outputs.iter().map(|output| output.total_amount).sum();
        if sum < input.amount() {
            outputs.push(ArkoorDestination {
                total_amount: input.amount() - sum,
                policy: VtxoPolicy::new_pubkey(self.key.public_key()),
            });
        }
        ArkoorPackageBuilder::new_with_checkpoints([input.clone()], outputs)
            .unwrap()
            .generate_user_nonces(&[self.key])
            .unwrap()
    }

    async fn cosign_htlc(&self, payment: &Payment) -> Result<ArkoorPackageCosignResponse, Status> {
        let request = protos::ArkoorPackageCosignRequest::from(payment.cosign_request());
        let request = protos::LightningPayHtlcCosignRequest {
            parts: request.parts,
        };
        let mut client = self.rpc.client.clone();
        let response = client.request_lightning_pay_htlc_cosign(request).await?;
        Ok(response.into_inner().try_into()?)
    }

    /// An HTLC that can pay, registered.
    async fn htlc(
        &self,
        sandbox: &Sandbox,
        input: &Vtxo<Full>,
        hash: PaymentHash,
        amount: u64,
    ) -> Vtxo<Full> {
        let expiry = sandbox.tip().await + SEND_DELTA;
        let payment = self.htlc_payment(input, hash, amount, expiry);
        let response = self.cosign_htlc(&payment).await.unwrap();
        let vtxos = self.finish(payment, response).unwrap();
        self.register(&vtxos).await.unwrap();
        vtxos[0].clone()
    }

    async fn initiate(
        &self,
        invoice: &Invoice,
        htlcs: &[&Vtxo<Full>],
        amount: u64,
    ) -> Result<(), Status> {
        let request = protos::InitiateLightningPaymentRequest {
            invoice: invoice.to_string(),
            htlc_vtxo_ids: htlcs
                .iter()
                .map(|htlc| htlc.id().to_bytes().to_vec())
                .collect(),
            payment_amount_sat: amount,
            mailbox_id: Some(self.mailbox().serialize()),
            retry_for_secs: None,
        };
        let mut client = self.rpc.client.clone();
        client.initiate_lightning_payment(request).await.map(drop)
    }

    /// A board of 20 000 sat, an HTLC of `amount`, and a payment.
    pub(super) async fn try_to_pay(
        &self,
        sandbox: &Sandbox,
        invoice: &Invoice,
        amount: u64,
    ) -> Vtxo<Full> {
        let input = sandbox.board(self, sat(20_000)).await;
        let htlc = self
            .htlc(sandbox, &input, invoice.payment_hash(), amount)
            .await;
        self.initiate(invoice, &[&htlc], amount).await.unwrap();
        sandbox.jobs().await;
        htlc
    }

    async fn check(&self, hash: PaymentHash, wait: bool) -> Result<PaymentStatus, Status> {
        let request = protos::CheckLightningPaymentRequest {
            hash: hash.to_vec(),
            wait,
        };
        let mut client = self.rpc.client.clone();
        let status = client.check_lightning_payment(request).await?.into_inner();
        Ok(status.payment_status.unwrap())
    }

    async fn is_pending(&self, hash: PaymentHash) -> bool {
        matches!(
            self.check(hash, false).await.unwrap(),
            PaymentStatus::Pending(_)
        )
    }

    async fn has_failed(&self, hash: PaymentHash) -> bool {
        matches!(
            self.check(hash, false).await.unwrap(),
            PaymentStatus::Failed(_)
        )
    }

    /// Whether the server shows a preimage that fits the hash.
    async fn is_paid(&self, hash: PaymentHash) -> bool {
        match self.check(hash, false).await.unwrap() {
            PaymentStatus::Success(success) => {
                let preimage = Preimage::try_from(success.preimage).unwrap();
                preimage.compute_payment_hash() == hash
            }
            _ => false,
        }
    }

    /// Spends HTLCs to one key.
    fn claim_of(&self, htlcs: &[Vtxo<Full>], key: PublicKey) -> Payment {
        ArkoorPackageBuilder::new_claim_all_with_checkpoints(
            htlcs.to_vec(),
            VtxoPolicy::new_pubkey(key),
        )
        .unwrap()
        .generate_user_nonces(&vec![self.key; htlcs.len()])
        .unwrap()
    }

    async fn revoke(&self, revocation: &Payment) -> Result<ArkoorPackageCosignResponse, Status> {
        let request = protos::ArkoorPackageCosignRequest::from(revocation.cosign_request());
        let mut client = self.rpc.client.clone();
        let response = client
            .request_lightning_pay_htlc_revocation(request)
            .await?;
        Ok(response.into_inner().try_into()?)
    }

    /// Signs a claim or a revocation, and registers the outputs.
    async fn complete(&self, spend: Payment, response: ArkoorPackageCosignResponse) -> u64 {
        let keys = vec![self.key; spend.builders.len()];
        let vtxos = spend
            .user_cosign(&keys, response)
            .unwrap()
            .build_signed_vtxos();
        self.register(&vtxos).await.unwrap();
        vtxos.iter().map(|vtxo| vtxo.amount().to_sat()).sum()
    }

    fn start_request(
        &self,
        hash: PaymentHash,
        amount: u64,
    ) -> protos::StartLightningReceiveRequest {
        protos::StartLightningReceiveRequest {
            payment_hash: hash.to_vec(),
            amount_sat: amount,
            min_cltv_delta: MIN_CLTV,
            mailbox_id: Some(self.mailbox().serialize()),
            description: Some("coffee".to_owned()),
        }
    }

    async fn start(&self, hash: PaymentHash, amount: u64) -> Result<String, Status> {
        self.start_with(self.start_request(hash, amount)).await
    }

    async fn start_with(
        &self,
        request: protos::StartLightningReceiveRequest,
    ) -> Result<String, Status> {
        let mut client = self.rpc.client.clone();
        let started = client.start_lightning_receive(request).await?;
        Ok(started.into_inner().bolt11)
    }

    async fn receive_status(&self, hash: PaymentHash) -> LightningReceiveStatus {
        let request = protos::CheckLightningReceiveRequest {
            hash: hash.to_vec(),
            wait: false,
        };
        let mut client = self.rpc.client.clone();
        let checked = client.check_lightning_receive(request).await.unwrap();
        checked.into_inner().status()
    }

    /// Asks for HTLCs that expire as late as possible.
    async fn ask_htlcs(
        &self,
        sandbox: &Sandbox,
        hash: PaymentHash,
    ) -> Result<Vec<Vtxo<Full>>, Status> {
        let expiry = sandbox.tip().await + MIN_CLTV;
        self.prepare_with(self.prepare_request(hash, expiry)).await
    }

    fn prepare_request(
        &self,
        hash: PaymentHash,
        expiry: u32,
    ) -> protos::PrepareLightningReceiveClaimRequest {
        protos::PrepareLightningReceiveClaimRequest {
            payment_hash: hash.to_vec(),
            user_pubkey: self.key.public_key().serialize().to_vec(),
            htlc_recv_expiry: expiry,
            lightning_receive_anti_dos: None,
        }
    }

    async fn prepare_with(
        &self,
        request: protos::PrepareLightningReceiveClaimRequest,
    ) -> Result<Vec<Vtxo<Full>>, Status> {
        let mut client = self.rpc.client.clone();
        let prepared = client.prepare_lightning_receive_claim(request).await?;
        let bodies = prepared.into_inner().htlc_vtxos;
        let vtxos = bodies.iter().map(|body| Vtxo::deserialize(body).unwrap());
        Ok(vtxos.collect())
    }

    async fn claim_receive(
        &self,
        preimage: Preimage,
        claim: &Payment,
    ) -> Result<ArkoorPackageCosignResponse, Status> {
        let request = protos::ClaimLightningReceiveRequest {
            payment_hash: preimage.compute_payment_hash().to_vec(),
            payment_preimage: preimage.to_vec(),
            cosign_request: Some(claim.cosign_request().into()),
        };
        let mut client = self.rpc.client.clone();
        let response = client.claim_lightning_receive(request).await?;
        Ok(response.into_inner().try_into()?)
    }

    async fn cancel(&self, hash: PaymentHash) -> Result<(), Status> {
        let request = protos::CancelLightningReceiveRequest {
            payment_hash: hash.to_vec(),
        };
        let mut client = self.rpc.client.clone();
        client.cancel_lightning_receive(request).await.map(drop)
    }
}

/// HTLCs sorted as a claim wants them.
fn sorted(mut htlcs: Vec<Vtxo<Full>>) -> Vec<Vtxo<Full>> {
    htlcs.sort_by_key(Vtxo::id);
    htlcs
}
