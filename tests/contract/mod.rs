//! The published contract: our document is compared with those of barkd, clients of its versions read every answer, and any request is
//! answered as our document says.
//!
//! All other tests take part: the harness validates each successful answer against the documents.

mod any_request;
mod compare;
mod differences;
mod documents;
mod newest_client;
mod oldest_client;
