//! `lightning/receives`: invoices of the wallet, and what became of them.

mod cancel;
mod generate_invoice;
mod generate_invoice_for_address;
mod get_status;
mod list_statuses;

use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::http::App;

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(generate_invoice::generate_invoice))
        .routes(routes!(
            generate_invoice_for_address::generate_invoice_for_address
        ))
        .routes(routes!(list_statuses::list_receive_statuses))
        .routes(routes!(
            get_status::get_receive_status,
            cancel::cancel_receive
        ))
}
