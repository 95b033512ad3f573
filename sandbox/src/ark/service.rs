//! The two gRPC services; each method calls the one of [`Ark`] with the same name.

use std::sync::Arc;

use futures::stream::{BoxStream, StreamExt};
use server_rpc::protos::{self, Empty, mailbox_server};
use server_rpc::server::{ArkService, MailboxService};
use server_rpc::tonic::{self, Request, Response, Status};

use super::state::Ark;

/// Serves one run of the server.
#[derive(Clone)]
pub struct Rpc(pub Arc<Ark>);

/// Writes out the methods of a service: `served` ones call the method of [`Ark`] of the same name.
macro_rules! service {
    (
        impl $service:ident {
            served { $($rpc:ident($request:ty) -> $response:ty;)* }
            $($rest:tt)*
        }
    ) => {
        #[tonic::async_trait]
        impl $service for Rpc {
            $(
                async fn $rpc(
                    &self,
                    request: Request<$request>,
                ) -> Result<Response<$response>, Status> {
                    Ok(Response::new(self.0.$rpc(request.into_inner()).await?))
                }
            )*
            $($rest)*
        }
    };
}

service! {
    impl ArkService {
        served {
            handshake(protos::HandshakeRequest) -> protos::HandshakeResponse;
            get_ark_info(Empty) -> protos::ArkInfo;
            get_offboard_fee_rate(Empty) -> protos::OffboardFeeRateResponse;
            next_round_time(Empty) -> protos::NextRoundTimeResponse;
            get_vtxo(protos::GetVtxoRequest) -> protos::GetVtxoResponse;
            get_vtxo_status(protos::GetVtxoStatusRequest) -> protos::GetVtxoStatusResponse;
            get_vtxos_by_ids(protos::GetVtxosByIdsRequest) -> protos::GetVtxosByIdsResponse;
            get_vtxos_status_by_ids(protos::GetVtxosStatusByIdsRequest) -> protos::GetVtxosStatusByIdsResponse;
            recover_vtxos_by_xpub(protos::RecoverVtxosByXpubRequest) -> protos::RecoverVtxosByXpubResponse;
            request_board_cosign(protos::BoardCosignRequest) -> protos::BoardCosignResponse;
            register_board_vtxo(protos::BoardVtxoRequest) -> Empty;
            register_vtxo_transactions(protos::RegisterVtxoTransactionsRequest) -> Empty;
            request_arkoor_cosign(protos::ArkoorPackageCosignRequest) -> protos::ArkoorPackageCosignResponse;
            last_round_event(Empty) -> protos::RoundEvent;
            submit_payment(protos::SubmitPaymentRequest) -> protos::SubmitPaymentResponse;
            provide_vtxo_signatures(protos::VtxoSignaturesRequest) -> Empty;
            submit_round_participation(protos::RoundParticipationRequest) -> protos::RoundParticipationResponse;
            round_participation_status(protos::RoundParticipationStatusRequest) -> protos::RoundParticipationStatusResponse;
            request_leaf_vtxo_cosign(protos::LeafVtxoCosignRequest) -> protos::LeafVtxoCosignResponse;
            request_forfeit_nonces(protos::ForfeitNoncesRequest) -> protos::ForfeitNoncesResponse;
            forfeit_vtxos(protos::ForfeitVtxosRequest) -> protos::ForfeitVtxosResponse;
            prepare_offboard(protos::PrepareOffboardRequest) -> protos::PrepareOffboardResponse;
            finish_offboard(protos::FinishOffboardRequest) -> protos::FinishOffboardResponse;
            request_lightning_pay_htlc_cosign(protos::LightningPayHtlcCosignRequest) -> protos::ArkoorPackageCosignResponse;
            initiate_lightning_payment(protos::InitiateLightningPaymentRequest) -> Empty;
            check_lightning_payment(protos::CheckLightningPaymentRequest) -> protos::LightningPaymentStatus;
            request_lightning_pay_htlc_revocation(protos::ArkoorPackageCosignRequest) -> protos::ArkoorPackageCosignResponse;
            fetch_bolt12_invoice(protos::FetchBolt12InvoiceRequest) -> protos::FetchBolt12InvoiceResponse;
            start_lightning_receive(protos::StartLightningReceiveRequest) -> protos::StartLightningReceiveResponse;
            check_lightning_receive(protos::CheckLightningReceiveRequest) -> protos::CheckLightningReceiveResponse;
            prepare_lightning_receive_claim(protos::PrepareLightningReceiveClaimRequest) -> protos::PrepareLightningReceiveClaimResponse;
            claim_lightning_receive(protos::ClaimLightningReceiveRequest) -> protos::ArkoorPackageCosignResponse;
            cancel_lightning_receive(protos::CancelLightningReceiveRequest) -> Empty;
        }

        // The name of the same RPC before it was renamed.
        async fn register_vtxos(
            &self,
            request: Request<protos::RegisterVtxoTransactionsRequest>,
        ) -> Result<Response<Empty>, Status> {
            self.register_vtxo_transactions(request).await
        }

        type SubscribeRoundsStream = BoxStream<'static, Result<protos::RoundEvent, Status>>;

        async fn subscribe_rounds(
            &self,
            _request: Request<Empty>,
        ) -> Result<Response<Self::SubscribeRoundsStream>, Status> {
            Ok(Response::new(self.0.subscribe_rounds().boxed()))
        }
    }
}

service! {
    impl MailboxService {
        served {
            post_arkoor_message(mailbox_server::PostArkoorMessageRequest) -> Empty;
            post_recovery_vtxo_ids(mailbox_server::PostRecoveryVtxoIdsRequest) -> Empty;
            read_mailbox(mailbox_server::MailboxRequest) -> mailbox_server::MailboxMessages;
        }

        type SubscribeMailboxStream =
            BoxStream<'static, Result<mailbox_server::MailboxMessage, Status>>;

        async fn subscribe_mailbox(
            &self,
            request: Request<mailbox_server::MailboxRequest>,
        ) -> Result<Response<Self::SubscribeMailboxStream>, Status> {
            let stream = self.0.subscribe_mailbox(request.get_ref())?;
            Ok(Response::new(stream.boxed()))
        }
    }
}
