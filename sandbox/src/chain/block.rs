//! Blocks: how one is put together and what one must keep to extend the chain.
//!
//! The rules are those of a node on regtest, where every soft fork is active from the start.

use std::collections::HashMap;

use bitcoin::block::{Header, Version};
use bitcoin::hashes::Hash;
use bitcoin::opcodes::all::OP_RETURN;
use bitcoin::script::{Builder, PushBytesBuf};
use bitcoin::{
    Amount, Block, BlockHash, CompactTarget, OutPoint, ScriptBuf, Sequence, Transaction, TxIn,
    TxMerkleNode, TxOut, Witness, absolute, transaction,
};

use super::Reject;
use super::consensus::{self, Coin, MAX_SIGOPS, MAX_WEIGHT};
use super::ledger::Ledger;

/// The proof of work of regtest: every second hash meets it.
const BITS: u32 = 0x207f_ffff;
/// Blocks after which regtest halves the subsidy.
const HALVING: u32 = 150;
/// Starts the commitment to the witnesses (BIP141), after `OP_RETURN` and a push of 36 bytes.
const COMMITMENT: [u8; 4] = [0xaa, 0x21, 0xa9, 0xed];
/// The reserved value that the commitment is salted with.
const RESERVED: [u8; 32] = [0; 32];

/// What the coinbase of a block creates.
pub(super) fn subsidy(height: u32) -> Amount {
    let initial = Amount::from_sat(50 * 100_000_000);
    initial
        .to_sat()
        .checked_shr(height / HALVING)
        .map_or(Amount::ZERO, Amount::from_sat)
}

/// What a new block is made of.
pub(super) struct Template {
    pub(super) previous: BlockHash,
    pub(super) height: u32,
    pub(super) time: u32,
    pub(super) coinbase_script: ScriptBuf,
    /// Goes into the coinbase, so that two blocks on the same parent differ.
    pub(super) nonce: u64,
    /// In an order in which each may be spent by a later one.
    pub(super) txs: Vec<Transaction>,
    pub(super) fees: Amount,
}

impl Template {
    /// The block, with commitment and proof of work.
    pub(super) fn solve(self) -> Block {
        let mut txdata = vec![self.coinbase()];
        txdata.extend(self.txs);
        let header = Header {
            version: Version::from_consensus(0x2000_0000),
            prev_blockhash: self.previous,
            merkle_root: TxMerkleNode::all_zeros(),
            time: self.time,
            bits: CompactTarget::from_consensus(BITS),
            nonce: 0,
        };
        let mut block = Block { header, txdata };
        let root = block
            .witness_root()
            .expect("a block holds at least its coinbase");
        let commitment = Block::compute_witness_commitment(&root, &RESERVED);
        let mut push = PushBytesBuf::new();
        push.extend_from_slice(&COMMITMENT)
            .expect("36 bytes fit a push");
        push.extend_from_slice(commitment.as_byte_array())
            .expect("36 bytes fit a push");
        block.txdata[0].output.push(TxOut {
            value: Amount::ZERO,
            script_pubkey: Builder::new()
                .push_opcode(OP_RETURN)
                .push_slice(push)
                .into_script(),
        });
        block.header.merkle_root = block
            .compute_merkle_root()
            .expect("a block holds at least its coinbase");
        while block.header.validate_pow(block.header.target()).is_err() {
            block.header.nonce += 1;
        }
        block
    }

    fn coinbase(&self) -> Transaction {
        let script_sig = Builder::new()
            .push_int(i64::from(self.height))
            .push_slice(self.nonce.to_le_bytes())
            .into_script();
        let input = TxIn {
            previous_output: OutPoint::null(),
            script_sig,
            sequence: Sequence::MAX,
            witness: Witness::from_slice(&[RESERVED]),
        };
        let value = subsidy(self.height) + self.fees;
        Transaction {
            version: transaction::Version::TWO,
            lock_time: absolute::LockTime::ZERO,
            input: vec![input],
            output: vec![TxOut {
                value,
                script_pubkey: self.coinbase_script.clone(),
            }],
        }
    }
}

/// Checks a block in full and adds it to the chain.
pub(super) fn connect(ledger: &mut Ledger, block: Block) -> Result<(), Reject> {
    let spent = check(ledger, &block)?;
    ledger.apply(block, spent);
    Ok(())
}

/// Checks that a block extends the chain; returns what each transaction after the coinbase spends.
pub(super) fn check(ledger: &Ledger, block: &Block) -> Result<Vec<Vec<Coin>>, Reject> {
    let place = ledger.next_place();
    check_header(ledger, block)?;
    let (coinbase, txs) = block
        .txdata
        .split_first()
        .ok_or_else(|| Reject::invalid("bad-cb-missing"))?;
    if !coinbase.is_coinbase() {
        return Err(Reject::invalid("bad-cb-missing"));
    }
    consensus::check_structure(coinbase)?;
    let height_push = Builder::new()
        .push_int(i64::from(place.height))
        .into_script();
    if !coinbase.input[0]
        .script_sig
        .as_bytes()
        .starts_with(height_push.as_bytes())
    {
        return Err(Reject::invalid("bad-cb-height"));
    }
    if !block.check_merkle_root() {
        return Err(Reject::invalid("bad-txnmrklroot"));
    }
    if !block.check_witness_commitment() {
        return Err(Reject::invalid("bad-witness-merkle-match"));
    }
    if block.weight().to_wu() > MAX_WEIGHT {
        return Err(Reject::invalid("bad-blk-weight"));
    }

    let mut made: HashMap<OutPoint, Coin> = HashMap::new();
    let mut gone = std::collections::HashSet::new();
    let mut spent = Vec::with_capacity(txs.len());
    let mut fees = Amount::ZERO;
    let mut sigops = coinbase.total_sigop_cost(|_| None);
    for tx in txs {
        if tx.is_coinbase() {
            return Err(Reject::invalid("bad-cb-multiple"));
        }
        consensus::check_structure(tx)?;
        consensus::check_lock_time(tx, &place)?;
        let mut coins = Vec::with_capacity(tx.input.len());
        for input in &tx.input {
            let outpoint = input.previous_output;
            let coin = made
                .get(&outpoint)
                .or_else(|| ledger.coin(&outpoint))
                .ok_or_else(Reject::missing_inputs)?;
            coins.push(coin.clone());
            if !gone.insert(outpoint) {
                return Err(Reject::missing_inputs());
            }
        }
        fees += consensus::check_amounts(tx, &coins, place.height)?;
        consensus::check_sequence_locks(tx, &coins, &place, |height| ledger.median_time(height))?;
        let outputs: Vec<&TxOut> = coins.iter().map(|coin| &coin.output).collect();
        consensus::check_scripts(tx, &outputs)?;
        sigops += tx.total_sigop_cost(|outpoint| {
            let index = tx
                .input
                .iter()
                .position(|input| input.previous_output == *outpoint)?;
            Some(coins[index].output.clone())
        });
        let txid = tx.compute_txid();
        for (vout, output) in (0..).zip(&tx.output) {
            let coin = Coin {
                output: output.clone(),
                height: place.height,
                coinbase: false,
            };
            made.insert(OutPoint { txid, vout }, coin);
        }
        spent.push(coins);
    }
    if sigops > MAX_SIGOPS {
        return Err(Reject::invalid("bad-blk-sigops"));
    }
    let claimed: Amount = coinbase.output.iter().map(|output| output.value).sum();
    if claimed > subsidy(place.height) + fees {
        return Err(Reject::invalid("bad-cb-amount"));
    }
    Ok(spent)
}

fn check_header(ledger: &Ledger, block: &Block) -> Result<(), Reject> {
    let header = &block.header;
    if header.prev_blockhash != ledger.tip().hash {
        return Err(Reject::invalid("prev-blk-not-found"));
    }
    if header.bits != CompactTarget::from_consensus(BITS) {
        return Err(Reject::invalid("bad-diffbits"));
    }
    if header.validate_pow(header.target()).is_err() {
        return Err(Reject::invalid("high-hash"));
    }
    if header.time <= ledger.median_time(ledger.height()) {
        return Err(Reject::invalid("time-too-old"));
    }
    Ok(())
}
