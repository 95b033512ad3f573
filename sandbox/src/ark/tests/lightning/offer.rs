use ::lightning::util::ser::Writeable;
use ark_lib::lightning::{Bolt12Invoice, Bolt12InvoiceExt, Offer};

use super::*;

async fn fetch(
    wallet: &Wallet,
    offer: &Offer,
    amount_sat: Option<u64>,
) -> Result<Bolt12Invoice, Status> {
    let request = protos::FetchBolt12InvoiceRequest {
        offer: offer.encode(),
        amount_sat,
    };
    let mut client = wallet.rpc.client.clone();
    let fetched = client.fetch_bolt12_invoice(request).await?.into_inner();
    Ok(Bolt12Invoice::try_from(fetched.invoice).unwrap())
}

#[tokio::test]
async fn an_offer_is_paid_and_each_fetch_is_a_new_invoice() {
    let (sandbox, wallet) = start(Params::free()).await;
    let network = sandbox.server.lightning();
    let offer = network
        .issue_offer(None, "beer", Outcome::default())
        .unwrap();
    let first = fetch(&wallet, &offer, Some(2_000)).await.unwrap();
    let second = fetch(&wallet, &offer, Some(2_000)).await.unwrap();
    assert_ne!(first.payment_hash(), second.payment_hash());
    first.validate_issuance(&offer, sat(2_000)).unwrap();
    let invoice = Invoice::Bolt12(first);
    wallet.try_to_pay(&sandbox, &invoice, 2_000).await;
    assert!(wallet.is_paid(invoice.payment_hash()).await);
    assert_eq!(sandbox.earned(), 0);
}

/// docs/protocol.md §40.4.
#[tokio::test]
async fn an_invoice_that_cannot_be_fetched_is_refused() {
    let (sandbox, wallet) = start(Params::free()).await;
    let network = sandbox.server.lightning();
    let offer = network
        .issue_offer(None, "beer", Outcome::default())
        .unwrap();
    let undetermined = "cannot determine the amount";
    refused(
        fetch(&wallet, &offer, None).await,
        Code::InvalidArgument,
        undetermined,
    );
    refused(
        fetch(&wallet, &offer, Some(0)).await,
        Code::Internal,
        "zero",
    );
    let priced = network
        .issue_offer(Some(5_000_000), "wine", Outcome::default())
        .unwrap();
    let less = fetch(&wallet, &priced, Some(4_999)).await;
    refused(less, Code::Internal, "the issuer refuses");
    assert_eq!(
        fetch(&wallet, &priced, None).await.unwrap().amount_msats(),
        5_000_000
    );
    let (other, _) = start(Params::free()).await;
    let foreign = other
        .server
        .lightning()
        .issue_offer(None, "x", Outcome::Hold);
    let foreign = fetch(&wallet, &foreign.unwrap(), Some(1_000)).await;
    refused(foreign, Code::Internal, "no path");
    network.set_online(false);
    let offline = fetch(&wallet, &offer, Some(1_000)).await;
    refused(offline, Code::Internal, "no active node");
    let mut client = wallet.rpc.client.clone();
    let garbled = client
        .fetch_bolt12_invoice(protos::FetchBolt12InvoiceRequest {
            offer: vec![1, 2, 3],
            amount_sat: None,
        })
        .await;
    refused(garbled, Code::InvalidArgument, "invalid offer");
}
