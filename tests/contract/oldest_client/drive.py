"""Calls every operation of barkd 0.1.4 through its generated client, against a daemon without a wallet:

    drive.py FOLDER URL TOKEN CONTROL CREATION

FOLDER has the client, CONTROL is the sandbox's control API, CREATION the body that creates a wallet in the sandbox. Prints the names of
the operations whose answers were decoded, as JSON.
"""

import importlib
import json
import sys
import time

import httpx

folder, url, token, control, creation = sys.argv[1:]
sys.path.insert(0, folder)

from barkd import AuthenticatedClient, models  # noqa: E402

PATIENCE_SECS = 60

# Operations with a body that the document does not declare.
UNDECLARED = {"default.ping"}

# GET /exits/status answers with a redirect to the path that the list has since 0.8.0.
client = AuthenticatedClient(url, token, raise_on_unexpected_status=True, follow_redirects=True)
called = set()


def call(operation, *path, body=None, **arguments):
    """Calls `tag.operation`, and returns its decoded answer."""
    module = importlib.import_module(f"barkd.api.{operation}")
    if body is not None:
        model, fields = body
        arguments["body"] = model.from_dict(fields)
    response = module.sync_detailed(*path, client=client, **arguments)
    assert response.status_code == 200, f"{operation}: {response.status_code} {response.content}"
    decoded = response.parsed is not None or not response.content or operation in UNDECLARED
    assert decoded, f"{operation} cannot be decoded: {response.content}"
    called.add(operation.split(".")[1])
    return response.parsed


def world(path, fields):
    """Makes something happen outside the daemon."""
    return httpx.post(f"{control}/{path}", json=fields, timeout=PATIENCE_SECS).raise_for_status().json()


def plain(path):
    """An answer as JSON, without the client."""
    headers = {"Authorization": f"Bearer {token}"}
    return httpx.get(f"{url}/api/v1{path}", headers=headers).raise_for_status().json()


def plain_post(path, body):
    headers = {"Authorization": f"Bearer {token}"}
    return httpx.post(f"{url}/api/v1{path}", json=body, headers=headers, timeout=PATIENCE_SECS).raise_for_status().json()


def until(what, condition):
    deadline = time.monotonic() + PATIENCE_SECS
    while time.monotonic() < deadline:
        if found := condition():
            return found
        time.sleep(0.1)
    raise TimeoutError(what)


def mine():
    """Mines a block, and waits until the daemon has seen it."""
    height = plain("/bitcoin/tip")["tip_height"]
    world("mine", {"n": 1})
    until("the block is seen", lambda: plain("/bitcoin/tip")["tip_height"] > height)


def settle():
    """Waits until nothing is pending but exits, and refreshes, which wait for a round."""

    def pending():
        movements = [it for it in plain("/history") if it["status"] == "pending"]
        lasting = ("bark.exit", "bark.round")
        return [it for it in movements if it["subsystem"]["name"] not in lasting] or plain("/boards/pending")

    until("nothing is pending", lambda: not pending())


def board(amount):
    call("boards.board_amount", body=(models.BoardRequest, {"amount_sat": amount}))
    assert len(call("boards.get_pending_boards")) == 1
    mine()
    settle()


def fund(amount):
    address = call("onchain.onchain_address").address
    world("faucet", {"address": address, "amount_sat": amount})
    mine()
    call("onchain.onchain_sync")
    return address


def spendable():
    """The ids of the VTXOs that can be spent, the largest first."""
    vtxos = [it for it in call("wallet.vtxos") if it.to_dict()["state"]["type"] == "spendable"]
    return [it.id for it in sorted(vtxos, key=lambda it: -it.amount_sat)]


def lifecycle():
    call("default.ping")
    # The document says text/plain, barkd answers JSON.
    call("notifications.websocket_ticket")
    assert call("wallet.wallet_exists").fingerprint is None
    call("wallet.create_wallet", body=(models.CreateWalletRequest, json.loads(creation)))
    assert call("wallet.connected").connected
    assert call("wallet.ark_info").network == "regtest"
    call("wallet.next_round")
    call("bitcoin.tip")


def onchain():
    own = fund(500_000)
    assert call("onchain.onchain_balance").total_sat == 500_000
    assert len(call("onchain.onchain_utxos")) == 1
    assert len(call("onchain.onchain_transactions")) == 1
    call("onchain.onchain_send", body=(models.OnchainSendRequest, {"destination": own, "amount_sat": 20_000}))
    many = {"destinations": [f"{own}:30000 sat", f"{own}:40000 sat"]}
    call("onchain.onchain_send_many", body=(models.OnchainSendManyRequest, many))
    mine()
    return own


def offchain():
    board(60_000)
    board(50_000)
    address = call("wallet.address").address
    call("wallet.peek_address", 0)
    call("wallet.send", body=(models.SendRequest, {"destination": address, "amount_sat": 10_000}))
    settle()
    call("wallet.sync")
    call("wallet.sync_mailbox")
    vtxo = spendable()[0]
    assert call("wallet.get_vtxo", vtxo).id == vtxo
    encoded = call("wallet.get_vtxo_encoded", vtxo).encoded
    assert len(call("wallet.import_vtxo", body=(models.ImportVtxoRequest, {"vtxos": [encoded]}))) == 1
    assert call("wallet.balance").spendable_sat > 0
    assert {it.status for it in call("wallet.history")} == {"successful"}
    assert len(call("wallet.movements")) == 4


def lightning():
    order = (models.LightningInvoiceRequest, {"amount_sat": 2_000})
    invoice = call("lightning.generate_invoice", body=order).invoice
    assert len(call("lightning.list_receive_statuses")) == 1
    world("ln/pay", {"invoice": invoice})
    until("the receive is settled", lambda: call("lightning.get_receive_status", invoice).finished_at)
    call("lightning.cancel_receive", call("lightning.generate_invoice", body=order).invoice)
    issued = world("ln/invoice", {"amount_msat": 1_000_000})
    call("lightning.pay", body=(models.LightningPayRequest, {"destination": issued["bolt11"]}))
    settle()


def fees(own):
    call("fees.onchain_fee_rates")
    for operation in ("board_fee", "lightning_send_fee", "lightning_receive_fee"):
        assert call(f"fees.{operation}", amount_sat=20_000).gross_amount_sat >= 20_000
    call("fees.send_onchain_fee", amount_sat=5_000, address=own)
    call("fees.offboard_all_fee", address=own)


def rounds_and_offboards(own):
    first = spendable()[0]
    call("wallet.refresh_vtxos", body=(models.RefreshRequest, {"vtxos": [first]}))
    call("wallet.refresh_counterparty")
    call("wallet.refresh_all")
    assert len(call("wallet.pending_rounds")) == 3
    call("wallet.send_onchain", body=(models.SendOnchainRequest, {"destination": own, "amount_sat": 5_000}))
    mine()
    first = spendable()[0]
    call("wallet.offboard_vtxos", body=(models.OffboardVtxosRequest, {"vtxos": [first], "address": own}))
    mine()
    call("wallet.offboard_all", body=(models.OffboardAllRequest, {}))
    mine()


def exits(own):
    """Exits two VTXOs. The client does not know the states in between, so they are asked for without it."""
    board(30_000)
    board(20_000)
    first = spendable()[0]
    call("exits.exit_start_vtxos", body=(models.ExitStartRequest, {"vtxos": [first]}))
    call("exits.exit_start_all")
    for _ in range(40):
        if plain_post("/exits/progress", {"wait": True})["done"]:
            break
        mine()
    assert len(call("exits.get_all_exit_status", history=False, transactions=True)) == 2
    assert call("exits.exit_progress", body=(models.ExitProgressRequest, {"wait": True})).done
    call("exits.exit_claim_vtxos", body=(models.ExitClaimVtxosRequest, {"destination": own, "vtxos": [first]}))
    call("exits.exit_claim_all", body=(models.ExitClaimAllRequest, {"destination": own}))
    mine()
    until("the exit is claimed", lambda: plain(f"/exits/status/vtxo/{first}")["state"]["type"] == "claimed")
    state = call("exits.get_exit_status_by_vtxo_id", first, transactions=True).state
    assert state.to_dict()["type"] == "claimed"


def the_end(own):
    settle()
    call("onchain.onchain_drain", body=(models.OnchainDrainRequest, {"destination": own}))
    mine()
    call("boards.board_all")
    mine()
    settle()
    fingerprint = call("wallet.wallet_exists").fingerprint
    body = {"dangerous": True, "fingerprint": fingerprint}
    assert call("wallet.wallet_delete", body=(models.WalletDeleteRequest, body)).deleted


lifecycle()
own = onchain()
offchain()
lightning()
fees(own)
rounds_and_offboards(own)
exits(own)
the_end(own)
print(json.dumps(sorted(called)))
