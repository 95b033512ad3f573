-- The order in which the API lists VTXOs, so that a page of them costs no more than its length.
CREATE INDEX vtxo_listed ON vtxo (expiry_height, amount DESC, id);
