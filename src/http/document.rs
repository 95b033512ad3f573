//! The OpenAPI document, assembled from the declarations of the routes.

use utoipa::openapi::OpenApi;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::{Modify, OpenApi as _};

use super::refusals;
use super::schema::error::{
    BadRequestError, ForbiddenError, GatewayTimeoutError, InternalServerError,
    PayloadTooLargeError, RequestTimeoutError, UnauthorizedError, UnprocessableEntityError,
    UnsupportedMediaTypeError,
};

#[derive(utoipa::OpenApi)]
#[openapi(
    info(
        title = "arkwalletd REST API",
        description = "A self-custodial bitcoin wallet for the Ark protocol, driven over HTTP.\n\nResponses are JSON; amounts are in satoshis. \
                       The response to a failed request has a `message` for humans, a `code` for programs, and the `request_id` \
                       under which the daemon logs it."
    ),
    security(("bearer" = [])),
    modifiers(&BearerScheme),
    components(schemas(
        BadRequestError,
        ForbiddenError,
        GatewayTimeoutError,
        InternalServerError,
        PayloadTooLargeError,
        RequestTimeoutError,
        UnauthorizedError,
        UnprocessableEntityError,
        UnsupportedMediaTypeError
    )),
    tags(
        (name = "bitcoin", description = "The bitcoin network."),
        (name = "wallet", description = "The wallet: balance, VTXOs, addresses, payments."),
        (name = "boards", description = "Move on-chain bitcoin into the Ark."),
        (name = "exits", description = "Take VTXOs on chain without the Ark server."),
        (name = "lightning", description = "Payments over Lightning."),
        (name = "onchain", description = "The on-chain wallet."),
        (name = "fees", description = "Fee estimates."),
        (name = "message", description = "Messages signed with the keys of addresses."),
        (name = "history", description = "Changes of the balance, and notes on them."),
        (name = "notifications", description = "What happens to the wallet, as it happens."),
        (name = "webhooks", description = "Events posted to receivers, in order and at least once."),
    )
)]
struct Base;

struct BearerScheme;

impl Modify for BearerScheme {
    fn modify(&self, document: &mut OpenApi) {
        let scheme = HttpBuilder::new()
            .scheme(HttpAuthScheme::Bearer)
            .bearer_format("AuthToken")
            .description(Some("The token that `arkwalletd secret show` prints."))
            .build();
        document
            .components
            .get_or_insert_default()
            .add_security_scheme("bearer", SecurityScheme::Http(scheme));
    }
}

/// The document of the whole API.
pub fn openapi() -> OpenApi {
    let mut document = Base::openapi();
    document.merge(super::routes::open().into_openapi());
    document.merge(super::routes::api().into_openapi());
    refusals::declare(&mut document);
    document
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_committed_document_is_current() {
        let current = super::openapi().to_pretty_json().unwrap();
        let committed = include_str!("../../openapi/openapi.json");
        assert!(
            committed.trim_end() == current,
            "run `cargo run -- openapi > openapi/openapi.json`"
        );
    }
}
