//! `webhooks`: events are posted to receivers that the operator names.

mod create;
mod delete;
mod deliveries;
mod get;
mod list;
mod redeliver;
mod rotate_secret;
mod test;
mod update;

use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::http::App;

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(list::list_webhooks, create::create_webhook))
        .routes(routes!(
            get::get_webhook,
            update::update_webhook,
            delete::delete_webhook
        ))
        .routes(routes!(rotate_secret::rotate_webhook_secret))
        .routes(routes!(redeliver::redeliver_events))
        .routes(routes!(test::test_webhook))
        .routes(routes!(deliveries::list_webhook_deliveries))
}
