//! The refusals that do not depend on a route's handler, but on what its requests carry. They are declared here for all routes.

use utoipa::ToSchema;
use utoipa::openapi::path::{Operation, PathItem};
use utoipa::openapi::response::{Response, ResponseBuilder};
use utoipa::openapi::{ContentBuilder, OpenApi, Ref, RefOr};

use crate::http::schema::error::{
    BadRequestError, ForbiddenError, PayloadTooLargeError, RequestTimeoutError,
    ServiceUnavailableError, UnauthorizedError, UnprocessableEntityError,
    UnsupportedMediaTypeError,
};

/// A refusal: its status, its name in the document, and when it happens.
struct Refusal {
    status: &'static str,
    name: &'static str,
    schema: fn() -> std::borrow::Cow<'static, str>,
    description: &'static str,
    concerns: fn(&Operation) -> bool,
}

const REFUSALS: &[Refusal] = &[
    Refusal {
        status: "400",
        name: "BadRequest",
        schema: BadRequestError::name,
        description: "A parameter is invalid, or the body is no JSON",
        concerns: |operation| has_body(operation) || has_parameters(operation),
    },
    Refusal {
        status: "401",
        name: "Unauthorized",
        schema: UnauthorizedError::name,
        description: "The bearer token is missing or wrong",
        concerns: |_| true,
    },
    Refusal {
        status: "403",
        name: "Forbidden",
        schema: ForbiddenError::name,
        description: "Without authentication: the request comes from a foreign web page",
        concerns: |_| true,
    },
    Refusal {
        status: "408",
        name: "RequestTimeout",
        schema: RequestTimeoutError::name,
        description: "The body did not arrive in time; nothing was done",
        concerns: has_body,
    },
    Refusal {
        status: "413",
        name: "PayloadTooLarge",
        schema: PayloadTooLargeError::name,
        description: "The body is larger than 2 MiB",
        concerns: has_body,
    },
    Refusal {
        status: "415",
        name: "UnsupportedMediaType",
        schema: UnsupportedMediaTypeError::name,
        description: "The content type is not JSON",
        concerns: has_body,
    },
    Refusal {
        status: "422",
        name: "UnprocessableEntity",
        schema: UnprocessableEntityError::name,
        description: "The body has the wrong shape, or no wallet is loaded",
        concerns: has_body,
    },
    Refusal {
        status: "503",
        name: "ServiceUnavailable",
        schema: ServiceUnavailableError::name,
        description: "The daemon stops, or its database cannot be used now",
        concerns: |_| true,
    },
];

/// Adds to every route that needs a token the refusals that it does not declare itself.
pub(super) fn declare(document: &mut OpenApi) {
    for (path, item) in &mut document.paths.paths {
        if !path.starts_with("/api/v1/") {
            continue;
        }
        for operation in operations(item) {
            for refusal in REFUSALS {
                if (refusal.concerns)(operation) {
                    let reference = Ref::from_response_name(refusal.name);
                    let responses = &mut operation.responses.responses;
                    responses
                        .entry(refusal.status.to_owned())
                        .or_insert(RefOr::Ref(reference));
                }
            }
        }
    }
    let components = document.components.get_or_insert_default();
    for refusal in REFUSALS {
        let response = RefOr::T(refusal.response());
        components
            .responses
            .insert(refusal.name.to_owned(), response);
    }
}

impl Refusal {
    fn response(&self) -> Response {
        let schema = Ref::from_schema_name((self.schema)());
        let content = ContentBuilder::new().schema(Some(schema)).build();
        ResponseBuilder::new()
            .description(self.description)
            .content("application/json", content)
            .build()
    }
}

fn operations(item: &mut PathItem) -> impl Iterator<Item = &mut Operation> {
    [
        &mut item.get,
        &mut item.post,
        &mut item.patch,
        &mut item.delete,
    ]
    .into_iter()
    .flatten()
}

fn has_body(operation: &Operation) -> bool {
    operation.request_body.is_some()
}

fn has_parameters(operation: &Operation) -> bool {
    operation
        .parameters
        .as_ref()
        .is_some_and(|it| !it.is_empty())
}
