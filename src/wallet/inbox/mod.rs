//! What comes in, and the server's copy of it: the mailbox, the quarantine, registration and backup.

mod mailbox;
mod server_copy;
