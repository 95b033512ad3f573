#![no_main]

use libfuzzer_sys::{Corpus, fuzz_target};
use prost::Message;
use server_rpc::protos::mailbox_server::MailboxMessage;

fuzz_target!(|bytes: &[u8]| -> Corpus {
    let Ok(message) = MailboxMessage::decode(bytes) else {
        return Corpus::Reject;
    };
    arkwalletd::fuzzing::mailbox_message(message);
    Corpus::Keep
});
