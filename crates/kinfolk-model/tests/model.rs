//! Runs the scenarios of the model, each as a test.

/// A test for each scenario of a room.
macro_rules! scenarios {
    ($($room:ident: $($scenario:ident)*;)*) => {$(
        mod $room {
            $(
                #[test]
                fn $scenario() {
                    let _watchdog = kinfolk_testkit::watchdog(stringify!($scenario));
                    kinfolk_model::$room::scenarios::$scenario();
                }
            )*
        }
    )*};
}

scenarios! {
    sync:
        a_word_has_one_owner
        a_word_of_three_has_one_owner
        a_word_left_held_is_held_until_it_is_released
        a_change_wakes_who_sleeps
        changes_wake_all_who_sleep
        one_who_is_woken_wakes_the_next
        an_event_wakes_all_who_wait
        permits_are_neither_lost_nor_doubled
        permits_of_three_are_neither_lost_nor_doubled
        a_notification_reaches_one_who_lives
        a_barrier_lets_all_pass_or_none;
    queue:
        messages_stay_whole_and_in_order
        a_ring_that_grows_keeps_its_messages
        messages_of_two_senders_are_all_received
        room_wakes_two_senders
        a_killed_receiver_loses_one_message_at_most
        a_message_rings_the_bell_of_who_waits_for_it
        a_killed_receiver_silences_no_bell_of_others
        a_message_given_back_rings_the_bell_of_who_waits_for_it
        large_messages_stay_whole_and_in_order
        a_killed_receiver_loses_one_large_message_at_most
        a_message_on_lease_outlives_its_holder
        a_message_given_back_wakes_who_waits
        an_extent_wakes_who_waits_to_put_a_message_on_lease
        the_last_message_wakes_who_waits_until_all_is_settled;
}
