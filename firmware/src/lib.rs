#![cfg_attr(not(test), no_std)]
//! The board half.
