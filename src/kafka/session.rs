//! Whether a static member was fenced by itself.
//!
//! A commit that is on its way when the coordinator goes away is sent again by librdkafka once there is one. If the session has ended
//! meanwhile, it goes out with the instance id and without a member id; the broker takes that for a second member of the same
//! name, and librdkafka takes the answer for the end. A heartbeat does the same while the callback is awaited that tells
//! of the end of the session. But a member without an id cannot be fenced by another: it would fence that one as it joins.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use rdkafka::error::RDKafkaErrorCode;

/// Consumers in a row that are made without the group having taken one of them in: beyond it, something else is wrong.
const MOST_RENEWALS: u32 = 3;

/// The session of a member with its group, over all the consumers that take each other's place in it.
#[derive(Debug, Default)]
pub struct Session {
    /// It ended without the group having taken us in again: there is no member id then.
    is_lost: AtomicBool,
    /// Consumers that were made anew since the group last took one in.
    renewals: AtomicU32,
}

impl Session {
    /// The group has taken us in.
    pub fn begin(&self) {
        self.is_lost.store(false, Ordering::Relaxed);
        self.renewals.store(0, Ordering::Relaxed);
    }

    /// The group has given us up.
    pub fn lose(&self) {
        self.is_lost.store(true, Ordering::Relaxed);
    }

    /// Whether another consumer may take the place of one that ended with this fatal error: the error answers a request
    /// that outlived the session, and it is not so for the fourth time in a row.
    pub fn renew(&self, fatal: Option<RDKafkaErrorCode>) -> bool {
        self.is_lost.load(Ordering::Relaxed)
            && fatal == Some(RDKafkaErrorCode::FencedInstanceId)
            && self.renewals.fetch_add(1, Ordering::Relaxed) < MOST_RENEWALS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FENCED: Option<RDKafkaErrorCode> = Some(RDKafkaErrorCode::FencedInstanceId);

    #[test]
    fn only_a_member_without_a_session_fences_itself() {
        let session = Session::default();
        assert!(!session.renew(FENCED), "another member has the name");
        session.lose();
        assert!(!session.renew(Some(RDKafkaErrorCode::Authentication)) && !session.renew(None));
        assert!(session.renew(FENCED));
        session.begin();
        assert!(!session.renew(FENCED));
    }

    #[test]
    fn nothing_is_renewed_for_ever() {
        let session = Session::default();
        session.lose();
        assert_eq!([(); 5].map(|()| session.renew(FENCED)), [true, true, true, false, false]);
        session.begin();
        session.lose();
        assert!(session.renew(FENCED));
    }
}
