//! The routes behind the token, one folder or file for each tag of the OpenAPI document.

mod bitcoin;
mod boards;
mod fee_rates;
mod fees;
mod history;
mod onchain;
mod wallet;

use utoipa_axum::router::OpenApiRouter;

use super::App;

pub(super) fn api() -> OpenApiRouter<App> {
    let v1 = OpenApiRouter::new()
        .merge(bitcoin::routes())
        .merge(wallet::routes())
        .merge(boards::routes())
        .merge(onchain::routes())
        .merge(fee_rates::routes())
        .merge(fees::routes())
        .merge(history::routes());
    OpenApiRouter::new().nest("/api/v1", v1)
}
