//! `wallet`: the wallet itself and its money off chain, one file per concern.

mod addresses;
mod balance;
mod create;
mod delete;
mod history;
mod info;
mod offboards;
mod rounds;
mod send;
mod sync;
mod vtxos;

use utoipa_axum::router::OpenApiRouter;

use crate::http::App;
pub(super) use rounds::parse_ids;

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .merge(info::routes())
        .merge(create::routes())
        .merge(delete::routes())
        .merge(addresses::routes())
        .merge(balance::routes())
        .merge(vtxos::routes())
        .merge(history::routes())
        .merge(send::routes())
        .merge(rounds::routes())
        .merge(offboards::routes())
        .merge(sync::routes())
}
