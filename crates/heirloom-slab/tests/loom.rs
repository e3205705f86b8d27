//! Every order of the steps between CPUs. Run by `RUSTFLAGS="--cfg loom" cargo test -p heirloom-slab --release --test loom`.
#![cfg(loom)]

use heirloom_slab::models::*;

fn explore(bound: Option<usize>, model: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = bound;
    builder.max_branches = 20_000;
    builder.check(model);
}

#[test]
fn what_the_owner_hands_out_no_accumulator_lists() {
    explore(None, || publish_against_collect(0b1, &[(0, 0b10)]));
}

#[test]
fn two_publishers_of_one_word_are_told_apart_from_none() {
    explore(Some(3), || publish_against_collect(0, &[(0, 0b01), (0, 0b10)]));
}

#[test]
fn two_publishers_of_two_words() {
    explore(Some(3), || publish_against_collect(0, &[(0, 0b01), (1, 0b10)]));
}

/// The trap: without the publishing count the model must find the live object that is listed as free.
#[test]
#[should_panic(expected = "a live object is listed as free")]
fn without_the_publishing_count_a_live_object_is_listed_as_free() {
    set_wrong_order(true);
    explore(None, || publish_against_collect(0b1, &[(0, 0b10)]));
}

#[test]
fn no_notification_is_lost_between_one_publisher_and_the_owner() {
    explore(None, || announce_against_drain(&[0]));
}

#[test]
fn no_notification_is_lost_between_two_publishers_of_one_slab_and_the_owner() {
    explore(Some(3), || announce_against_drain(&[0, 0]));
}

#[test]
fn no_slab_is_lost_from_the_list_of_announced_ones() {
    explore(Some(3), || announce_against_drain(&[0, 1]));
}

#[test]
fn a_slot_is_in_one_pair_of_hands_when_its_slab_is_stolen() {
    explore(None, flush_against_steal);
}
