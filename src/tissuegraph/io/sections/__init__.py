"""Readers of sections: one platform a file, each returns an AnnData of counts with positions."""
