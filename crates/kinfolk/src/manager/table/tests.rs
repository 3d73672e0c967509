//! Who refers to an object, and for how long.

use std::sync::Arc;
use std::time::Instant;

use super::{TRANSIT, Table};
use crate::ErrorKind;
use crate::manager::caller::Session;
use crate::manager::object::Object;
use crate::manager::objects::CLASSES;
use crate::manager::protocol::Hello;

fn client(table: &Table) -> Arc<Session> {
    let hello = Hello { session: None, pid: 1, name: String::new() };
    table.join(hello).unwrap().0
}

fn object() -> Arc<dyn Object> {
    (CLASSES.iter().find(|class| class.name == "dict").unwrap().make)(&[]).unwrap()
}

#[test]
fn a_ticket_keeps_its_object_until_it_has_arrived_and_a_while_longer() {
    let (table, object) = (Table::new(10), object());
    let fingerprint = object.fingerprint();
    let (sender, receiver) = (client(&table), client(&table));
    let number = table.insert(&sender, object).unwrap();
    let ticket = table.pass(&sender, number).unwrap();
    table.release(&sender, &[number]);
    drop(table.tidy(Instant::now() + 100 * TRANSIT));
    assert!(table.object(number).is_ok(), "nobody has received it");

    table.acquire(&receiver, number, fingerprint, ticket).unwrap();
    table.release(&receiver, &[number]);
    drop(table.tidy(Instant::now()));
    assert!(table.object(number).is_ok(), "another may receive it");
    drop(table.tidy(Instant::now() + 2 * TRANSIT));
    assert_eq!(table.object(number).err().unwrap().kind(), ErrorKind::NotFound);
    assert_eq!(table.statistics().travelling, 0);
}

#[test]
fn what_a_dead_client_has_sent_can_be_received_for_a_while() {
    let (table, object) = (Table::new(10), object());
    let sender = client(&table);
    let number = table.insert(&sender, object).unwrap();
    table.pass(&sender, number).unwrap();
    drop(table.leave(&sender));
    drop(table.tidy(Instant::now()));
    assert!(table.object(number).is_ok());
    drop(table.tidy(Instant::now() + 2 * TRANSIT));
    assert!(table.object(number).is_err());
}

#[test]
fn a_client_that_is_gone_is_given_nothing() {
    let (table, object) = (Table::new(10), object());
    let fingerprint = object.fingerprint();
    let (gone, other) = (client(&table), client(&table));
    let number = table.insert(&other, object).unwrap();
    table.register("name", number).unwrap();
    drop(table.leave(&gone));
    let errors = [
        table.insert(&gone, self::object()).unwrap_err(),
        table.acquire(&gone, number, fingerprint, 0).unwrap_err(),
        table.get(&gone, "name", fingerprint).unwrap_err(),
        table.pass(&gone, number).unwrap_err(),
    ];
    assert!(errors.iter().all(|error| error.kind() == ErrorKind::Disconnected), "{errors:?}");
    table.unregister("name").unwrap();
    drop(table.leave(&other));
    assert_eq!(table.statistics().objects, 0);
}

#[test]
fn nobody_releases_what_is_anothers() {
    let (table, object) = (Table::new(10), object());
    let (one, other) = (client(&table), client(&table));
    let number = table.insert(&one, object).unwrap();
    table.release(&other, &[number, number, 77]);
    assert!(table.object(number).is_ok());
    table.release(&one, &[number, number, number]);
    assert!(table.object(number).is_err());
}
