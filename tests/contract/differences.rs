//! Where our document differs from the published ones, and why. A difference that is gone has to leave this list.

use std::collections::BTreeSet;

struct Intended {
    versions: &'static [&'static str],
    why: &'static str,
    differences: &'static [&'static str],
}

const BOTH: &[&str] = &["0.8.0", "0.1.4"];

const INTENDED: &[Intended] = &[
    Intended {
        versions: BOTH,
        why: "barkd answers JSON, and its documents say text/plain.",
        differences: &[
            "GET /api/v1/notifications/ws/ticket 200: lacks text/plain",
            "GET /api/v1/notifications/ws/ticket 401: lacks text/plain",
        ],
    },
    Intended {
        versions: &["0.8.0"],
        why: "Only clients that ask for them with `types` get these.",
        differences: &[
            "WalletNotification: may be \"attention-cleared\"",
            "WalletNotification: may be \"attention-raised\"",
            "WalletNotification: may be \"chain-connected\"",
            "WalletNotification: may be \"chain-lost\"",
            "WalletNotification: may be \"operation-updated\"",
            "WalletNotification: may be \"server-connected\"",
            "WalletNotification: may be \"server-disconnected\"",
            "WalletNotification: may be \"vtxo-expiring\"",
        ],
    },
    Intended {
        versions: BOTH,
        why: "barkd answers null, too, when the server sets no limit; its document does not say so.",
        differences: &["ArkInfo.max_vtxo_amount: may be null"],
    },
    Intended {
        versions: BOTH,
        why: "What locks a VTXO is named by action_id. The key is optional, and barkd leaves it out mostly, too.",
        differences: &["VtxoStateInfo.movement_id: is missing"],
    },
    Intended {
        versions: &["0.1.4"],
        why: "0.8.0 has moved the list to /exits/status/all, and renamed the operations of the former paths.",
        differences: &[
            "GET /api/v1/exits/status 200: is missing",
            "GET /api/v1/exits/status/{vtxo_id}: operationId is \"get_exit_status_by_vtxo_id_deprecated\"",
            "GET /api/v1/exits/status: operationId is \"get_all_exit_status_deprecated\"",
        ],
    },
    Intended {
        versions: &["0.1.4"],
        why: "0.8.0 says more than 0.1.4 has words for.",
        differences: &[
            "ExitError: may be \"vtxo-swept\"",
            "ExitState: may be \"canceled\"",
            "ExitState: may be \"vtxo-already-spent\"",
            "ExitState: may be \"vtxo-swept\"",
            "ExitTxStatus: may be \"awaiting-confirmation\"",
            "ExitTxStatus: may be \"awaiting-cpfp-broadcast\"",
            "PaymentMethod.type: may be \"lnurl\"",
            "VtxoStateInfo: may be \"exited\"",
        ],
    },
    Intended {
        versions: &["0.1.4"],
        why: "The preimage is secret until the receive is settled.",
        differences: &["LightningReceiveInfo.payment_preimage: may be null"],
    },
];

/// The differences from a version that are intended.
pub fn intended(version: &str) -> BTreeSet<String> {
    let concerned = INTENDED.iter().filter(|it| it.versions.contains(&version));
    let all = concerned.inspect(|it| assert!(!it.why.is_empty()));
    all.flat_map(|it| it.differences)
        .map(|it| (*it).to_owned())
        .collect()
}
