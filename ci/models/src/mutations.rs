// Included by `build.rs` too.

/// One line of a protocol, broken.
#[derive(Debug)]
pub struct Mutation {
    pub name: &'static str,
    /// Which models must notice, each of them.
    pub models: &'static [&'static str],
    /// Below `src/`.
    pub file: &'static str,
    /// How the item begins that has the line.
    pub within: &'static str,
    /// The line, or the part of it, which is there once. With ⟦ ⟧: what is between them, the rest only
    /// says where.
    pub line: &'static str,
    /// What it is replaced by.
    pub broken: &'static str,
    /// What is wrong with that.
    pub why: &'static str,
}

/// For each file, for each item in it: `name, model: line => broken, why`, or several models.
macro_rules! mutations {
    ($($file:literal { $($within:literal { $($name:ident, $($area:ident :: $model:ident),+:
        $line:literal => $broken:literal, $why:literal;)* })* })*) => {
        pub const MUTATIONS: &[Mutation] = &[$($($(Mutation {
            name: stringify!($name),
            models: &[$(concat!(stringify!($area), "::", stringify!($model)),)+],
            file: $file,
            within: $within,
            line: $line,
            broken: $broken,
            why: $why,
        },)*)*)*];
    };
}

mutations! {
    "sched/wait_word.rs" {
        "pub(crate) fn arm(" {
            arm_relaxed, wait_word::one_claim: "Ordering::Release" => "Ordering::Relaxed",
                "a claimer does not see what the owner wrote before";
            arm_same_ticket, wait_word::stale: "(old | STATE_MASK) + 1 + ARMED" => "(old & !STATE_MASK) + ARMED",
                "the timer of an old wait ends the next";
        }
        "pub(crate) fn claim(" {
            claim_without_acquire, wait_word::one_claim: "Ordering::AcqRel" => "Ordering::Release",
                "the claimer does not see what the owner wrote before";
            claim_without_release, wait_word::one_claim: "Ordering::AcqRel" => "Ordering::Acquire",
                "the owner does not see the claimer's message";
            claim_by_store, wait_word::one_claim:
                "self.0.compare_exchange(ticket.0, claimed, Ordering::AcqRel, Ordering::Relaxed).is_ok()" =>
                "(self.0.load(Ordering::Acquire) == ticket.0 && { self.0.store(claimed, Ordering::Release); true })",
                "two claimers win";
        }
        "pub(crate) fn armed(" {
            armed_relaxed, wait_word::one_claim: "Ordering::Acquire" => "Ordering::Relaxed",
                "cancel decides by what it does not see";
        }
        "pub(crate) fn wake(" {
            wake_relaxed, wait_word::one_claim: "Ordering::Acquire" => "Ordering::Relaxed",
                "the owner does not see the message";
        }
    }

    "sched/preempt.rs" {
        "fn regain(" {
            regain_by_store, preempt::lend:
                "self.run.compare_exchange(run, RUNNING, Ordering::Relaxed, Ordering::Relaxed).is_ok()" =>
                "{ self.run.store(RUNNING, Ordering::Relaxed); true }", "two hold the P";
            regain_unqueued, preempt::lend: "self.rt.waiting.push(self);" => "", "nobody gives it a P";
            regain_without_notify, preempt::lend: "self.rt.notify_without_p();" => "",
                "who gave a P up just now did not see it, and nobody comes";
        }
        "fn lend(&self" {
            lend_relaxed, preempt::lend: "Ordering::Release" => "Ordering::Relaxed",
                "who takes the P does not see what was done with it";
        }
        "fn lend(m: &'static M)" {
            blocked_unmarked, preempt::block_with_thread: "m.run.store(TAKEN, Ordering::Relaxed);" => "",
                "it goes on with a P that another has";
            blocked_to_nobody, preempt::block_without_thread: "m.rt.give_away(p) || m.rt.start_m(Some(p), false)" => "true",
                "the P is lost";
            blocked_unheld, preempt::block_without_thread: "m.hold(p);" => "", "it takes back what it does not know";
            blocked_not_lent, preempt::block_without_thread: "m.lend(p, 0);" => "", "it waits for the P that it has";
        }
        "fn retake(" {
            retake_by_store, preempt::lend:
                "self.run.compare_exchange(run, TAKEN, Ordering::AcqRel, Ordering::Relaxed).ok()?;" =>
                "self.run.store(TAKEN, Ordering::Release);", "its owner has taken it back: two hold the P";
            retake_clears, preempt::lend_of_two: "Some(p)" => "self.p.take()", "its owner may have another by now";
        }
        "fn stop(" {
            stop_relaxed, preempt::suspend: "Ordering::Release" => "Ordering::Relaxed",
                "who takes the P does not see what was done with it";
            stop_with_lost_p, preempt::lend_and_suspend: "self.p.set(None);" => "", "two hold the P that it had lent";
            stop_without_wait, preempt::suspend: "self.await_p(SUSPENDED);" => "", "it goes on without having a P";
        }
        "fn enqueue(" {
            enqueued_as_suspended, preempt::suspend: "self.run.store(WAITING, Ordering::Relaxed);" => "",
                "whoever looks again puts it into the queue again";
        }
        "pub(crate) fn offer(" {
            offered_to_nobody, preempt::block_with_thread: "m.hand_over.set(to.map(HandOver::Waiting));" => "",
                "it is out of the queue and gets nothing";
        }
        "pub(crate) fn hand_over(" {
            not_handed_over, preempt::block_with_thread: "HandOver::Waiting(to) => ⟦to.resume(m.p.take())⟧" => "drop(to)",
                "who was promised the P sleeps on";
            called_before_bound, os_thread::one_p:
                "to.bound.set(Some(g));
            to.call(m.p.take());" => "to.call(m.p.take()); to.bound.set(Some(g));", "the M wakes before it is told for whom";
        }
        "pub(crate) fn resume(" {
            resume_relaxed, preempt::suspend: "Ordering::Release" => "Ordering::Relaxed",
                "it does not see what was done with the P";
            resume_without_wake, preempt::suspend: "futex::wake(word, 1);" => "", "it sleeps on";
        }
    }

    "sched/os_thread.rs" {
        "pub(crate) fn wait(" {
            kept_without_passing_on, os_thread::one_p, os_thread::sharers: "⟦pass_on(m);⟧
    let asleep" => "", "two Ps, or none for the others";
        }
        "fn pass_on(" {
            passed_on_as_idle, os_thread::next_slot: "!rt.is_ready_work(p, now)" => "true",
                "nobody looks into the slot of an idle P";
            passed_on_to_nobody, os_thread::yields: "rt.give_away(p) || rt.start_m(Some(p), false)" => "true",
                "the P is lost";
            passed_on_with_slot, os_thread::next_slot: "if let Some(g) = p.queue.steal_next() {
        rt.inject_quietly(g);
    }" => "", "nobody looks into the slot of an idle P";
        }
    }

    "sched/wait.rs" {
        "fn block(" {
            timeout_without_claim, wait::thread: "!self.waiter.claim(Wake::Timeout)" => "false",
                "the thread goes on with a wait that is still in force";
            late_ready_not_awaited, wait::thread: "task.block(NEVER);" => "",
                "the thread goes on while somebody writes to its stack, and the ready meets its next wait";
        }
        "pub(crate) fn abandon(" {
            abandoned_ready_left, wait::abandon:
                "Some(self.park(WaitReason::None, NEVER))" => "self.waiter.task.word().wake()",
                "the ready meets the next wait";
        }
    }

    "sched/thread_task.rs" {
        "pub(crate) fn ready(" {
            thread_ready_relaxed, wait::thread: "Ordering::Release" => "Ordering::Relaxed",
                "the thread does not see what came between claim and ready";
            thread_ready_without_wake, wait::thread_without_end: "futex::wake(&self.go, 1);" => "",
                "it sleeps on";
        }
        "pub(crate) fn block(" {
            thread_sleeps_unseen, wait::thread_without_end:
                "self.go.compare_exchange(LOOKS, SLEEPS, Ordering::Relaxed, Ordering::Acquire)"
                    => "Ok::<u32, u32>(LOOKS)",
                "who lets it go takes it for one who looks";
        }
    }

    "sched/park.rs" {
        "pub(crate) fn park(" {
            park_fence, wait::cancel_alone: "asymmetric::light();" => "", "neither sees the other";
            park_without_look, wait::cancel_alone: "g.asked.load(Ordering::Relaxed)" => "0",
                "a request that came before is not seen";
            park_ignores_shield, wait::shield: "super::cancel::is_open(g)" => "true", "cancelled in its shield";
            park_without_claim, wait::cancel_and_peer, join::joiner_cancelled:
                "g.word.claim(ticket, Wake::Cancel)" => "{ g.word.claim(ticket, Wake::Cancel); true }",
                "goes on before the peer that has claimed readies it";
        }
    }

    "sched/cancel.rs" {
        "pub(crate) fn cancel(" {
            cancel_fence, wait::cancel_alone: "asymmetric::heavy();" => "", "neither sees the other";
            cancel_without_poke, wait::cancel_alone: "poke(g);" => "", "who is parked sleeps on";
        }
        "pub(crate) fn poke(" {
            poke_ignores_shield, wait::shield: "is_open(g)" => "true", "cancelled in its shield";
        }
    }

    "sched/timers.rs" {
        "pub(crate) fn arm(" {
            timer_arm_fence, idle::timer: "asymmetric::light();" => "",
                "the poller misses the deadline and is not disturbed";
            timer_undisturbed, idle::timer: "m.rt.disturb_poller(when);" => "", "the poller sleeps on";
        }
        "pub(crate) fn arm_other(" {
            timer_outside_fence, idle::timer_beside_last: "asymmetric::full();" => "",
                "the poller misses the deadline and is not disturbed";
        }
        "pub(crate) fn run_due(" {
            timer_without_claim, wait::deadline, join::timeout_then_drop, join::park_timeout:
                "waiter.claim(Wake::Timeout)" => "{ waiter.claim(Wake::Timeout); true }",
                "a wait that a peer has ended is readied twice";
        }
    }

    "sched/join.rs" {
        "fn wait_for(" {
            joiner_unpublished, join::join:
                "g.state.fetch_or(g::JOINING, Ordering::AcqRel)" => "g.state.fetch_or(g::JOINING, Ordering::Acquire)",
                "the coroutine reads `joiner` while it is written";
            join_without_second_look, join::join:
                "if state & g::COMPLETE != 0 {
        // It ended just now and did not see us.
        wait.abandon();
        return true;
    }" => "", "it ended before it could see the joiner, who sleeps on";
            join_timeout_leaves_flag, join::timeout_then_join:
                "g.state.fetch_and(!g::JOINING, Ordering::AcqRel)" => "g.state.load(Ordering::Acquire)",
                "the coroutine reads `joiner` while the next wait writes it";
        }
        "impl<T> Drop for JoinHandle<T>" {
            drop_keeps_flag, join::drop_handle, join::timeout_then_drop, join::joiner_cancelled: "state - (g::REF | g::HANDLE)" => "state - g::REF",
                "the coroutine leaves its outcome to a handle that is gone";
            drop_without_acquire, join::drop_handle:
                "self.g.state.load(Ordering::Acquire)" => "self.g.state.load(Ordering::Relaxed)",
                "the outcome is dropped before it is seen";
        }
        "pub fn unpark(" {
            unpark_without_release, join::unpark: "Ordering::AcqRel" => "Ordering::Acquire",
                "the parker does not see what was done before";
            unpark_only_token, join::unpark, join::park_timeout:
                "unsafe { wait::Waiter::of(self.g, super::wait_word::Ticket::from_bits(old)) }.wake(Wake::Ready);" => "",
                "who is parked sleeps on";
        }
        "fn park_until(" {
            token_relaxed, join::unpark:
                "g.token.compare_exchange(TOKEN, EMPTY, Ordering::Acquire, Ordering::Relaxed)" =>
                "g.token.compare_exchange(TOKEN, EMPTY, Ordering::Relaxed, Ordering::Relaxed)",
                "the parker does not see what was done before unpark";
            token_kept, join::unpark: "g.token.swap(EMPTY, Ordering::Acquire);" => "",
                "the next park returns at once";
            ticket_kept, join::unpark: "g.token.swap(EMPTY, Ordering::AcqRel);" => "",
                "the next park returns at once";
            unwound_with_token, join::park_cancelled:
                "let _ = g.token.compare_exchange(ticket, EMPTY, Ordering::Relaxed, Ordering::Relaxed);" =>
                "g.token.swap(EMPTY, Ordering::AcqRel);", "an unpark is lost, and the next park sleeps on";
            unwound_without_ticket, join::park_cancelled:
                "let _ = g.token.compare_exchange(ticket, EMPTY, Ordering::Relaxed, Ordering::Relaxed);" => "",
                "the next park returns at once";
            ticket_by_store, join::unpark:
                "g.token.compare_exchange(EMPTY, ticket, Ordering::AcqRel, Ordering::Acquire).is_err()" =>
                "{ g.token.store(ticket, Ordering::Release); false }", "overwrites a token that just came";
        }
    }

    "sched/spawn.rs" {
        "pub(crate) fn complete(" {
            outcome_unpublished, join::join:
                "g.state.fetch_or(g::COMPLETE, Ordering::AcqRel)" => "g.state.fetch_or(g::COMPLETE, Ordering::Acquire)",
                "the joiner takes what it does not see";
            joiner_unseen, join::join:
                "g.state.fetch_or(g::COMPLETE, Ordering::AcqRel)" => "g.state.fetch_or(g::COMPLETE, Ordering::Release)",
                "the coroutine reads `joiner` without seeing it";
            complete_with_old_state, join::join:
                "state = g.state.fetch_or(g::COMPLETE, Ordering::AcqRel);" =>
                "g.state.fetch_or(g::COMPLETE, Ordering::AcqRel);",
                "a joiner that came just now sleeps on";
            complete_forgets_outcome, join::drop_handle:
                "// The handle went away just now and left the outcome to us.
            drop_outcome(g, state);" => "", "the handle went just now, and nobody drops the outcome";
        }
    }

    "sched/g.rs" {
        "pub(crate) unsafe fn release(" {
            release_relaxed, join::references: "Ordering::AcqRel" => "Ordering::Relaxed",
                "the record is recycled while another handle is being used";
        }
        "pub(crate) fn retain(" {
            retain_by_store, join::references:
                "self.state.fetch_add(REF, Ordering::Relaxed);" =>
                "self.state.store(self.state.load(Ordering::Relaxed) + REF, Ordering::Relaxed);",
                "undoes what others did to the state meanwhile";
        }
    }

    "sched/home_word.rs" {
        "pub(crate) fn try_wear(" {
            wear_relaxed, home_word::one_home: "Ordering::Acquire" => "Ordering::Relaxed",
                "the wearer sees an old stack";
            wear_by_store, home_word::one_home, home_word::two_homes:
                "self.word.compare_exchange(FREE, WORN, Ordering::Acquire, Ordering::Relaxed).is_ok()" =>
                "(self.word.load(Ordering::Acquire) == FREE && { self.word.store(WORN, Ordering::Relaxed); true })",
                "two wear it";
        }
        "fn wear_sole(" {
            // Not for the Acquire: B2 is a full fence here, and does its work.
            sole_not_busy, home_word::asked: "self.busy.store(true, Ordering::Relaxed);" => "", "B1: the asker wears it too";
            sole_fence, home_word::asked: "asymmetric::light();" => "", "B2: both wear it";
            sole_without_look, home_word::asked:
                "// B3. Relaxed: ordered by the fence.
        if ⟦self.word.load(Ordering::Relaxed) == SOLE⟧" => "true", "B3: both wear it";
            sole_stays_busy, home_word::asked: "self.busy.store(false, Ordering::Release);" => "",
                "asked for ever in vain";
        }
        "unsafe fn wear_or_list_slow(" {
            list_relaxed, home_word::one_home: "Ordering::SeqCst" => "Ordering::Relaxed",
                "whoever drains does not see the link";
            list_fence, home_word::one_home: "between_seqcst();" => "", "L2: the G is lost";
            list_fence_sole, home_word::sole, home_word::two_soles: "asymmetric::heavy();" => "", "L2: the G is lost";
            list_without_look, home_word::one_home: "if ⟦!self.is_free(owner)⟧ {" => "true", "L3: the G is lost";
            list_runs_requeued, home_word::one_home: "if ⟦!found⟧ {" => "false",
                "the last wearer has requeued the G: it runs twice";
            list_forgets_others, home_word::three_ms: "requeue(other);" => "", "the others are lost";
        }
        "pub(crate) fn is_free(" {
            shut_for_owner, home_word::shut: "SHUT => ⟦owner⟧," => "false",
                "the owner is lost in the list of its own home";
            sole_is_never_free, home_word::sole: "!self.busy.load(Ordering::Relaxed)" => "false", "L3: the G is lost";
        }
        "pub(crate) fn ask(" {
            ask_fence, home_word::asked: "asymmetric::heavy();" => "", "A2: both wear it";
            ask_without_look, home_word::asked: "!self.busy.load(Ordering::Acquire)" => "true", "A3: both wear it";
            ask_relaxed, home_word::asked: "self.busy.load(Ordering::Acquire)" => "self.busy.load(Ordering::Relaxed)",
                "the asker does not see what was done under the home";
            asked_for_ever, home_word::asked: "self.word.store(SOLE, Ordering::Release);" => "", "nobody wears it any more";
            ask_leaves_fence, home_word::asked:
                "self.word.store(SOLE, Ordering::Release);
        ⟦asymmetric::light();⟧" => "", "T2: the G is lost";
            ask_leaves_list, home_word::asked: "self.has_list()" => "false", "T3: the G is lost";
        }
        "fn open_slow(" {
            open_by_store, home_word::opened:
                "while self.word.compare_exchange(SOLE, WORN, Ordering::Acquire, Ordering::Relaxed).is_err() {
            spin_loop();
        }" => "self.word.store(WORN, Ordering::Relaxed);", "the asker makes it SOLE again";
            open_relaxed, home_word::asked_while_shut:
                "self.busy.store(false, Ordering::Release)" => "self.busy.store(false, Ordering::Relaxed)",
                "who waits to get in takes the home for one that is free";
        }
        "pub(crate) fn take_off(" {
            take_off_relaxed_sole, home_word::asked:
                "self.busy.store(false, Ordering::Release)" => "self.busy.store(false, Ordering::Relaxed)",
                "T1: the next wearer sees an old stack";
            take_off_fence_sole, home_word::sole, home_word::two_soles: "asymmetric::light();" => "", "T2: the G is lost";
            take_off_without_look, home_word::sole: "self.has_list()" => "false", "T3: the G is lost";
        }
        "fn leave_as(" {
            leave_relaxed, home_word::one_home, home_word::two_homes:
                "self.word.swap(state, Ordering::SeqCst)" => "self.word.swap(state, Ordering::Relaxed)",
                "T1: the next wearer sees an old stack";
            leave_fence, home_word::one_home: "between_seqcst();" => "", "T2: the G is lost";
            leave_without_look, home_word::one_home: "!self.list.load(Ordering::SeqCst).is_null()" => "false", "T3: the G is lost";
        }
        "pub(crate) fn drain(" {
            drain_relaxed, home_word::one_home: "Ordering::Acquire" => "Ordering::Relaxed", "the links are not seen";
            drain_by_store, home_word::three_ms:
                "self.list.swap(ptr::null_mut(), Ordering::Acquire)" =>
                "{ let head = self.list.load(Ordering::Acquire); self.list.store(ptr::null_mut(), Ordering::Relaxed); head }",
                "loses who comes in between";
        }
        "pub(crate) fn shut(" {
            shut_free, home_word::shut: "SHUT" => "FREE", "somebody runs in a home that is shut";
            shut_unopened, home_word::asked_while_shut: "self.open();" => "", "the asker makes it SOLE again";
        }
    }

    "sched/biased.rs" {
        "pub(crate) unsafe fn own<R>(" {
            owner_fence, biased::owner_and_thief: "asymmetric::light();" => "", "O2: both inside";
            owner_without_look, biased::owner_and_thief: "self.thief.load(Ordering::Acquire)" => "false",
                "O3: both inside";
            owner_look_relaxed, biased::owner_and_thief: "Ordering::Acquire" => "Ordering::Relaxed",
                "the owner does not see what the thief did";
            owner_leaves_relaxed, biased::owner_and_thief: "Ordering::Release" => "Ordering::Relaxed",
                "the thief does not see what the owner did";
        }
        "fn wait_for_thief(" {
            waiting_owner_fence, biased::owner_and_thief: "asymmetric::light();" => "", "both inside";
            waiting_owner_look_relaxed, biased::owner_and_thief:
                "self.thief.load(Ordering::Acquire)" => "self.thief.load(Ordering::Relaxed)",
                "the owner does not see what the thief did";
            waiting_owner_without_return, biased::owner_and_thief:
                "if !self.thief.load(Ordering::Acquire) {
                return;
            }" => "return;", "another thief may have come: both inside";
        }
        "pub(crate) fn steal<R>(" {
            thief_fence, biased::owner_and_thief: "asymmetric::heavy();" => "", "T2: both inside";
            thief_without_look, biased::owner_and_thief: "self.busy.load(Ordering::Acquire)" => "false",
                "T3: both inside";
            thief_look_relaxed, biased::owner_and_thief:
                "self.busy.load(Ordering::Acquire)" => "self.busy.load(Ordering::Relaxed)",
                "the thief does not see what the owner did";
            thief_by_store, biased::two_thieves:
                "self.thief.swap(true, Ordering::Acquire)" =>
                "{ let before = self.thief.load(Ordering::Acquire); self.thief.store(true, Ordering::Relaxed); before }",
                "T1: two thieves inside";
            thief_leaves_relaxed, biased::owner_and_thief: "Ordering::Release" => "Ordering::Relaxed",
                "the owner does not see what the thief did";
        }
    }

    "sched/runq.rs" {
        "pub(crate) fn steal_next(" {
            next_stolen_twice, biased::run_queue: "queues.next.take()" => "queues.next", "the slot's G comes out twice";
        }
        "pub(crate) unsafe fn steal_into(" {
            stolen_but_noted, biased::run_queue: "self.note(queues);" => "", "the queue never looks empty again";
        }
    }

    "sched/steal.rs" {
        "fn find_loot<T>(" {
            one_p_unsearched, idle::submit_and_give_up: "(0..made)" => "(1..made)", "what that one has is not found";
            standing_unsearched, idle::submit_and_give_up: "p.tick.load(Ordering::Relaxed) == tick" => "tick > 1_000_000",
                "what stands still is not found";
        }
    }

    "sched/lock.rs" {
        "fn acquire(" {
            lock_relaxed, lock::spin: "Ordering::Acquire" => "Ordering::Relaxed", "the last holder's work is not seen";
            lock_by_store, lock::spin:
                "self.locked.compare_exchange(false, true, Ordering::Acquire, Ordering::Relaxed).is_ok()" =>
                "(!self.locked.load(Ordering::Acquire) && { self.locked.store(true, Ordering::Relaxed); true })",
                "two hold it";
        }
        "fn lock_slow(" {
            lock_without_attempt, lock::spin: "self.acquire()" => "true", "two hold it";
        }
        "impl<T> Drop for SpinGuard<'_, T>" {
            unlock_relaxed, lock::spin: "Ordering::Release" => "Ordering::Relaxed",
                "the next holder does not see the work";
        }
    }

    "sched/idle.rs" {
        "pub(crate) fn notify(" {
            submit_fence, idle::submit_and_give_up: "asymmetric::light();" => "", "S2: neither sees the other";
        }
        "pub(crate) fn notify_without_p(" {
            outside_fence, idle::inject_and_give_up, idle::inject_beside_last: "asymmetric::full();" => "", "S2: neither sees the other";
            outside_fence_light, idle::inject_beside_last: "asymmetric::full();" => "asymmetric::light();",
                "S2: a light fence does not pair with a full one";
        }
        "fn wake_unless_searching(" {
            submit_without_wake, idle::inject_and_give_up: "self.wake_one();" => "", "S3: nobody is woken";
        }
        "pub(crate) fn disturb_poller(" {
            disturb_without_wake, idle::timer: "self.poller.wake();" => "", "the poller sleeps on";
        }
        "pub(crate) fn wake_one(" {
            no_p_undone_unlocked, idle::no_idle_p:
                "idle.searching.fetch_sub(1, Ordering::AcqRel);
            return;" => "drop(lists); idle.searching.fetch_sub(1, Ordering::AcqRel); return;",
                "who sees the next idle P still sees a searcher";
            no_p_not_undone, idle::no_idle_p:
                "idle.searching.fetch_sub(1, Ordering::AcqRel);
            return;" => "return;", "counts as a searcher for ever";
        }
        "pub(crate) fn put_idle_p(" {
            put_fence, idle::feed: "asymmetric::heavy();" => "", "T2: neither sees the other";
        }
        "pub(crate) fn give_up(" {
            given_up_without_look, os_thread::one_p, procs::retire_and_steal: "self.needs_somebody()" => "false", "T3: nobody comes for the G";
            given_up_fence, os_thread::one_p, procs::retire_and_steal: "asymmetric::heavy();" => "", "T2: neither sees the other";
        }
        "pub(crate) fn return_p(" {
            no_thread_without_sleepers, idle::no_thread:
                "lists.has_m()" => "false",
                "who submitted meanwhile has relied on us";
            no_thread_without_look, idle::no_thread: "self.needs_somebody()" => "false",
                "who submitted meanwhile has relied on us";
            no_thread_fence, idle::no_thread: "asymmetric::heavy();" => "", "the look sees nothing, the submitter us";
        }
        "pub(crate) fn needs_somebody(" {
            given_up_without_poller, os_thread::timer: "self.expects_something()" => "false", "nobody is left to poll";
        }
        "pub(crate) fn stop_searching(" {
            found_fence, idle::last_searcher_and_sleeper: "asymmetric::light();" => "",
                "F2: misses the idle P, while a submitter relies on us";
            found_without_look, idle::last_searcher: "m.rt.has_work()" => "false",
                "F3: who submitted meanwhile has relied on us";
            found_not_counted, idle::last_searcher:
                "m.rt.idle.searching.fetch_sub(1, Ordering::AcqRel)" => "m.rt.idle.searching.load(Ordering::Relaxed)",
                "F1: counts as a searcher for ever";
        }
        "fn sleep_in_list(" {
            give_up_fence, idle::submit_and_give_up: "asymmetric::heavy();" => "", "T2: neither sees the other";
            give_up_last_fence, idle::inject_and_give_up, idle::inject_beside_last, idle::timer_beside_last:
                "asymmetric::full();" => "", "T2: neither sees the other";
            give_up_without_look, idle::inject_and_give_up: "rt.has_work()" => "false", "T3: nobody comes for the G";
            poller_leaves_without_look, idle::poller_leaves: "⟦continue;⟧
        }
        let alone" => "", "one who has given up his P relied on it";
            give_up_not_stopping, idle::stop_sleeper: "rt.is_stopping()" => "false",
                "whoever ends the runtime did not find us in the list";
            give_up_not_counted, idle::last_searcher_and_sleeper: "m.searching.replace(false)" => "m.searching.take() && false", "T1: counts as a searcher for ever";
            retired_in_list, idle::retire:
                "lists.ms.remove(at);
                return false;" => "return false;", "somebody calls it, and nobody comes";
        }
        "pub(crate) fn retire_p(" {
            retired_uncounted, procs::retire_and_steal: "self.idle.publish(lists);" => "", "counts as held for ever";
        }
        "fn stop_polling(" {
            poller_for_ever, idle::timer_and_poller: "self.polling.swap(false, Ordering::AcqRel);" => "",
                "nobody polls again";
            poller_leaves_blindly, idle::poller_leaves: "Ordering::AcqRel" => "Ordering::Release",
                "does not see the P of one who relied on it";
        }
        "fn announce_poll(" {
            poll_without_word, idle::timer: "self.poll_until.store(rt.next_timer(), Ordering::Relaxed);" => "",
                "nobody knows that it must be disturbed";
        }
        "fn come_back(" {
            back_not_counted, idle::inject_and_give_up: "idle.searching.fetch_add(1, Ordering::AcqRel);" => "",
                "it is counted out without having been counted in";
            back_still_listed, idle::two_timers_polled:
                "⟦lists.ms.remove(at);⟧
            drop(lists);" => "", "somebody calls it while it works";
        }
        "fn poll(" {
            poll_fence, idle::timer_and_poller: "asymmetric::heavy();" => "", "misses the deadline and is not disturbed";
            poll_without_second_look, idle::timer: "⟦idle.poll_until.load(Ordering::Relaxed).min(rt.next_timer())⟧" =>
                "idle.poll_until.load(Ordering::Relaxed)", "misses a deadline that came before the fence";
        }
    }

    "sched/ps.rs" {
        "pub(crate) fn resize(" {
            grow_fence, procs::grow_and_submit: "asymmetric::heavy();" => "",
                "T2: the look sees nothing, the submitter no idle P";
            grow_without_look, procs::grow_and_submit: "self.needs_somebody()" => "false", "T3: nobody comes for the G";
            grow_listed_twice, procs::two_numbers: "p.service.get() == Service::Retired" => "true",
                "a P that somebody holds is listed";
            shrink_leaves_idle, procs::two_numbers, procs::shrink_and_wake:
                "while let Some(p) = self.take_retiring_p() {
            drop(self.give_up_p(p));
        }" => "", "one too many stays";
        }
        "pub(crate) fn give_up_p(" {
            listed_anyway, procs::retire_and_steal, procs::shrink_and_wake: "p.index < lists.active" => "true", "one too many stays";
            retired_for_good, procs::two_numbers: "p.index < lists.active" => "!is_empty && p.index < lists.active",
                "while it was emptied it came to be needed again";
            retired_as_it_is, procs::retire_and_steal: "unsafe { p.empty(self) };" => "", "what was on it is lost";
        }
    }

    "sched/runtime.rs" {
        "pub(crate) fn feed_starving(" {
            fed_without_poller, idle::feed: "self.needs_somebody()" => "self.has_work()", "T3: nobody is left to poll";
        }
    }

    "sched/find.rs" {
        "pub(crate) fn find_or_sleep(" {
            bound_before_call, os_thread::two_ps, os_thread::sharers: "⟦m.is_set_aside()⟧ {
            // Before" => "m.is_set_aside() && { if let Some(g) = m.bound.take() { return Some(g); } true }",
                "the call is answered another time, and its P with it";
        }
        "pub(crate) fn glance(" {
            glance_without_notify, idle::two_timers_found: "rt.notify();" => "", "nobody comes for the second";
        }
    }

    "sched/p.rs" {
        "pub(crate) unsafe fn empty(" {
            retired_with_coroutines, procs::retire_and_steal:
                "unsafe { self.queue.take_all(|g| rt.inject_quietly(g)) };" => "", "nobody comes for them";
            retired_with_timers, procs::retire_with_timer: "self.timers.move_to(&rt.ps.get(0).timers)" => "None",
                "no holder looks after them any more";
            timers_moved_fence, procs::retire_with_timer: "asymmetric::light();" => "",
                "the poller misses them and is not disturbed";
        }
        "pub(crate) unsafe fn take_injected(" {
            batch_without_notify, idle::batch: "rt.notify();" => "",
                "a searcher missed them on their way from queue to queue";
        }
    }

    "sched/m.rs" {
        "pub(crate) fn sleep(" {
            asleep_by_store, idle::stop_sleeper:
                "self.call.compare_exchange(AWAKE, ASLEEP, Ordering::AcqRel, Ordering::Acquire).is_err()" =>
                "{ self.call.store(ASLEEP, Ordering::Release); false }", "overwrites the call";
            awake_by_store, idle::retire:
                "self.call.compare_exchange(ASLEEP, AWAKE, Ordering::AcqRel, Ordering::Acquire)" =>
                "{ self.call.store(AWAKE, Ordering::Release); Ok::<u32, u32>(ASLEEP) }", "overwrites the call";
        }
        "pub(crate) fn send(" {
            sent_by_store, idle::poller_leaves:
                "self.call.compare_exchange(ASLEEP, AWAKE, Ordering::AcqRel, Ordering::Relaxed).is_ok()" =>
                "{ self.call.store(AWAKE, Ordering::Release); true }", "overwrites the call";
        }
        "pub(crate) fn begin_polling(" {
            polling_by_store, idle::stop_poller:
                "self.call.compare_exchange(AWAKE, POLLING, Ordering::AcqRel, Ordering::Acquire).is_ok()" =>
                "{ self.call.store(POLLING, Ordering::Release); true }", "overwrites the call";
        }
        "pub(crate) fn end_polling(" {
            polled_by_store, idle::stop_poller:
                "self.call.compare_exchange(POLLING, AWAKE, Ordering::AcqRel, Ordering::Acquire).is_ok()" =>
                "{ self.call.store(AWAKE, Ordering::Release); true }", "overwrites the call";
        }
        "pub(crate) fn call(" {
            call_unpublished, idle::inject_and_give_up: "Ordering::AcqRel" => "Ordering::Acquire",
                "the M reads what it was given while that is written";
            call_leaves_sleeper, idle::stop_sleeper: "os::futex::wake(word, 1)" => "()", "the M sleeps on";
            call_leaves_poller, idle::stop_poller: "rt.poller.wake()" => "()", "the M sleeps on";
        }
    }

    "sched/snooze.rs" {
        "pub(crate) fn wait(" {
            snooze_wait_without_look, snooze::wake: "word.load(Ordering::Relaxed) == expected" => "true",
                "the wake-up was before the sleeper set its time";
        }
        "pub(crate) fn wake(" {
            snooze_wake_without_time, snooze::wake: "timer.set(AT_ONCE)" => "{}", "sleeps on";
            snooze_wake_without_futex, snooze::wake_without_timer: "futex::wake(word, 1)" => "{}", "sleeps on";
        }
        "pub(crate) fn put_off(" {
            snooze_put_off_without_look, snooze::put_off: "!may()" => "false", "the wake-up is put off too";
        }
    }

    "sched/sysmon.rs" {
        "pub(crate) fn wake(" {
            sysmon_wake_fence, idle::sysmon_sleeps: "asymmetric::light();" => "", "neither sees the other";
        }
        "fn cut_short(" {
            sysmon_cut_without_word, idle::sysmon_sleeps: "SLEEP.store(AWAKE, Ordering::Release);" => "",
                "sysmon goes back to sleep";
            sysmon_cut_without_wake, idle::sysmon_sleeps:
                r#"BED.get().expect("sysmon sleeps on it").wake(&SLEEP);"# => "", "sysmon sleeps on";
        }
        "fn needs_looks(" {
            sysmon_needs_none, idle::sysmon_sleeps: "!rt.is_idle()" => "false", "sleeps while a P is busy";
        }
        "fn sleep(" {
            sysmon_sleep_fence, idle::sysmon_sleeps: "asymmetric::heavy();" => "", "neither sees the other";
            sysmon_sleep_without_look, idle::sysmon_sleeps:
                "try_runtimes().is_none_or(|all| all.iter().any(|it| needs_looks(it.rt)))" => "false", "sleeps while a P is busy";
            sysmon_sleep_without_calm, idle::sysmon_sleeps_and_one_stops: "!preempt::is_calm()" => "false",
                "nobody lets go on who has stopped";
        }
    }

    "poll/word.rs" {
        "pub(crate) fn note_drained(" {
            drained_too_late, poll_word::drained:
                "seen.count()" => "{ let _ = seen; self.word.load(Ordering::Relaxed) & COUNT }",
                "the note covers an edge that came after the read";
        }
        "pub(crate) fn is_drained(" {
            drained_at_the_end, poll_word::drained_end: "seen.0 & ALWAYS == 0" => "true",
                "waits for an end that was announced";
        }
        "pub(crate) fn publish(" {
            publish_after_edge, poll_word::edge:
                "if word & COUNT != seen.count() {
                // An edge came while we wrote; it left the slot to us.
                // Release: pairs with the Acquire of the next who claims the slot.
                self.word.fetch_and(!CLAIMED, Ordering::Release);
                return None;
            }" => "", "waits for an edge that has come";
            publish_keeps_slot, poll_word::edge: "self.word.fetch_and(!CLAIMED, Ordering::Release);" => "",
                "nobody can use the slot again";
            publish_relaxed, poll_word::edge:
                "self.word.compare_exchange_weak(word, published, Ordering::Release, Ordering::Acquire)" =>
                "self.word.compare_exchange_weak(word, published, Ordering::Relaxed, Ordering::Acquire)",
                "whoever takes the waiter does not see the slot";
            publish_over_another, poll_word::two_readers:
                "if word & (WAITING | CLAIMED) != 0 {
                return self.publish_overflow(seen, waiter);
            }" => "", "two write the slot";
        }
        "fn publish_overflow(" {
            overflow_after_edge, poll_word::two_readers:
                "if word & COUNT != seen.count() {
                overflow.pop();
                return None;
            }" => "", "waits for an edge that has come";
            overflow_without_bit, poll_word::two_readers: "word | OVERFLOW" => "word", "no edge finds it";
        }
        "pub(crate) fn retract(" {
            retract_uncounted, poll_word::retract: "(word & !WAITING).wrapping_add(EDGE)" => "word & !WAITING",
                "an edge takes halves of two waiters out of the slot";
        }
        "pub(crate) fn edge(" {
            edge_uncounted, poll_word::edge: "(word & !(WAITING | OVERFLOW)).wrapping_add(EDGE)" =>
                "(word & !(WAITING | OVERFLOW))", "who is about to wait does not notice it";
            edge_relaxed, poll_word::edge:
                "self.word.load(Ordering::Acquire)" => "self.word.load(Ordering::Relaxed)",
                "takes a waiter that it does not see";
            edge_retry_relaxed, poll_word::edge:
                "self.word.compare_exchange_weak(word, counted, Ordering::AcqRel, Ordering::Acquire)" =>
                "self.word.compare_exchange_weak(word, counted, Ordering::AcqRel, Ordering::Relaxed)",
                "takes a waiter that it does not see";
            edge_forgets_end, poll_word::drained_end: "counted |= ALWAYS;" => "", "the end is waited for";
            edge_forgets_overflow, poll_word::two_readers: "word & OVERFLOW != 0" => "false",
                "the second reader sleeps on";
        }
    }

    "channel/blocking.rs" {
        "unsafe fn send_slow<'a>(" {
            send_joins_late, channel::rendezvous:
                "unsafe { self.send_wait(state, wait, value, armed.deadline) }" =>
                "{ drop(state); let state = self.lock(); unsafe { self.send_wait(state, wait, value, armed.deadline) } }",
                "a receiver comes between the step and the queue: both wait";
        }
        "unsafe fn recv_slow<'a>(" {
            recv_joins_late, channel::full_ring:
                "unsafe { self.recv_wait(state, wait, out, armed.deadline) }" =>
                "{ drop(state); let state = self.lock(); unsafe { self.recv_wait(state, wait, out, armed.deadline) } }",
                "a message comes between the step and the queue";
        }
        "unsafe fn redeem(" {
            promised_unclaimed, select::plain_receiver: "!wait.claim_for_another()" => "false",
                "`cancel` ends the wait for a message that is on its way";
            promised_alone, select::plain_receiver: "sender.settle(Outcome::Withdrawn).go();" => "drop(sender);",
                "the sender stands still for ever";
        }
        "unsafe fn recv_given_up(" {
            recv_stays_queued, channel::recv_timeout, channel::recv_cancel: "unsafe { self.leave(Side::Recv, node) };" => "let _ = node;",
                "a sender meets a frame that is gone";
        }
        "unsafe fn send_given_up(" {
            send_stays_queued, channel::send_timeout: "unsafe { self.leave(Side::Send, node) };" => "let _ = node;",
                "a receiver meets a frame that is gone";
        }
    }

    "channel/chan.rs" {
        "pub(crate) unsafe fn join(" {
            join_without_flag, channel::rendezvous: "self.change_flags(side.waiting(), 0);" => "",
                "nobody looks for the waiter";
        }
        "pub(crate) unsafe fn join_if_blocked(" {
            select_joins_blindly, select::two_senders: "!self.would_block(&state, side, Some(node.task()))" => "false",
                "what became possible since the look is overlooked";
        }
        "pub(crate) unsafe fn recv_step(" {
            place_not_reserved, select::full_ring: "self.take_place(state);" => "", "two have one place";
        }
        "fn wake_all(" {
            close_tells_nobody, select::ready_close: "watchers.into_iter().for_each(tell);" => "drop(watchers);",
                "who only asks sleeps on";
        }
        "pub(crate) fn close(" {
            close_wakes_nobody, channel::close: "self.wake_all();" => "", "who waits sleeps on";
            close_does_not_help, channel::discard_beside_close: "if ⟦flags⟧ & (RECV_WAITING" => "(if flags & CLOSED == 0 { flags } else { 0 })",
                "a message that nobody can receive is said to be sent";
            close_without_flag, channel::close: "self.change_flags(CLOSED, 0);" => "", "who comes later waits for ever";
        }
    }

    "channel/select.rs" {
        "unsafe fn wait_with(" {
            select_forgets_nodes, select::timeout, select::close: "unsafe { (case.ops.leave)(case.what, node) }" =>
                "()", "a sender meets a frame that is gone";
            select_forgets_found, select::facing, select::cancel: "found = Some((this, chosen))" => "()",
                "what a peer has left is lost";
        }
        "fn end(" {
            select_forgets_peer, select::facing, select::twice: "wait.abandon()" => "{ std::mem::forget(wait); None }",
                "a peer ends a wait that nobody is in";
        }
        "pub(crate) fn ready(" {
            ready_forgets_watch, select::ready: "(case.ops.watch)(case.what, waiter)" => "true", "nobody tells it";
        }
    }

    "channel/case.rs" {
        "pub(crate) unsafe fn give_up_send(" {
            given_up_alone, select::given_up: "peer.settle(Outcome::Withdrawn).go()" => "drop(peer)",
                "the receiver stands still for ever";
        }
        "pub(crate) unsafe fn send_chosen(" {
            chosen_not_passed, select::both_ends: "⟦unsafe { pass_to(peer, value) };⟧\n                return Ok(());" => "peer.settle(Outcome::Passed).go();",
                "the receiver finds no message";
        }
    }

    "channel/waitq.rs" {
        "pub(crate) fn has_other(" {
            select_meets_itself, select::both_ends: "Some(node.task) != task" => "true",
                "a select does not wait because of itself";
        }
        "pub(crate) fn pop(" {
            pop_without_claim, channel::recv_timeout, channel::recv_cancel, select::cancel: "node.task.claim()" => "{ node.task.claim(); true }",
                "passes a message to somebody who waits no more";
        }
    }

    "channel/handles.rs" {
        "impl<T, W: Task> Drop for Leave<T, W>" {
            left_by_store, channel::close: "chan.handles.left.swap(true, Ordering::AcqRel)" =>
                "{ let left = chan.handles.left.load(Ordering::Acquire); chan.handles.left.store(true, Ordering::Release); left }",
                "neither side frees the channel";
        }
        "unsafe fn last_receiver(" {
            messages_left_behind, channel::discard: "chan.discard();" => "", "messages are not dropped";
        }
    }

    "sync/waitq.rs" {
        "unsafe fn take(" {
            grant_without_claim, mutex::timeout: "if !task.claim(Wake::Ready) {⟦\n            return false;⟧" =>
                "", "it is given to one who has left";
        }
        "pub(crate) fn wait<R>(" {
            leaves_without_word, semaphore::cancel, mutex::cancel: "left(locked, ready);" => "",
                "who stood behind it is not given what is there";
        }
    }

    "sync/raw_mutex.rs" {
        "pub(crate) fn take_free(" {
            mutex_take_relaxed, mutex::two: "LOCKED, ⟦Ordering::Acquire⟧" => "Ordering::Relaxed",
                "the holder does not see what the last one did";
        }
        "pub(crate) fn release(" {
            mutex_release_relaxed, mutex::two: "Ordering::Release" => "Ordering::Relaxed",
                "the next one does not see what this one did";
        }
        "fn settle(" {
            mutex_waits_unseen, mutex::two: "state | WAITING" => "state", "nobody wakes it";
            mutex_stays_woken, mutex::two: "& ⟦!gone⟧" => "!0", "nobody wakes it again";
        }
        "pub(crate) fn lock_slow(" {
            mutex_last_for_all, mutex::timeout, mutex::cancel: "if ⟦locked.is_empty()⟧" => "true", "nobody wakes the others";
        }
        "pub(crate) fn unlock_slow(" {
            mutex_wakes_nobody, mutex::two: "ready.go();" => "std::mem::forget(ready);", "it was granted and sleeps on";
            mutex_forgets_others, mutex::three: "granted | woken | ⟦waiting⟧" => "0", "nobody wakes the others";
            mutex_hands_over_free, mutex::hand_over: "Some((_, Grant::Given)) => ⟦LOCKED⟧" => "0",
                "another takes it as well";
        }
    }

    "sync/raw_rwlock.rs" {
        "pub(crate) fn take_shared(" {
            rwlock_read_relaxed, rwlock::two: "Ordering::Acquire" => "Ordering::Relaxed",
                "the reader does not see what the last writer did";
        }
        "fn with_reader_again(" {
            rwlock_not_again, rwlock::recursive: "⟦state & WRITER == 0 && state >= READER⟧ {" => "false",
                "it waits for a writer who waits for it";
        }
        "pub(crate) fn take_free(" {
            rwlock_write_relaxed, rwlock::two: "WRITER, ⟦Ordering::Acquire⟧" => "Ordering::Relaxed",
                "the writer may be too early for the last reader";
        }
        "fn with_writer(" {
            rwlock_writes_beside_readers, rwlock::two, rwlock::recursive: "state & WRITER == 0 && state < READER" => "state & WRITER == 0",
                "a reader reads what is being written";
            rwlock_stays_woken, rwlock::three: "(state | WRITER) & ⟦!gone⟧" => "!0", "nobody is woken again";
        }
        "fn settle(" {
            rwlock_waits_unseen, rwlock::two: "state | WAITING" => "state", "nobody wakes it";
        }
        "fn left(" {
            rwlock_keeps_readers_out, rwlock::cancel: "self.admit(locked, ready);" => "",
                "the readers behind it wait for a reader";
            rwlock_last_for_all, rwlock::timeout: "if ⟦locked.is_empty()⟧" => "true", "nobody wakes the others";
        }
        "fn admit(" {
            rwlock_admits_beside_writer, rwlock::timeout:
                "state & (WRITER | WOKEN) != 0 || state < READER" => "false", "a reader reads what is being written";
            rwlock_admits_uncounted, rwlock::cancel: "self.state().fetch_add(READER, Ordering::Acquire);" => "",
                "it leaves in the place of another";
        }
        "pub(crate) fn unlock_shared(" {
            rwlock_unread_relaxed, rwlock::two: "Ordering::Release" => "Ordering::Relaxed",
                "the next writer may be too early for it";
            rwlock_last_reader_leaves, rwlock::two: "while ⟦state & (WAITING | WOKEN) != WAITING⟧" => "true",
                "nobody wakes the writer";
        }
        "fn unlock_shared_slow(" {
            rwlock_for_itself_only, rwlock::readers: "Ordering::AcqRel" => "Ordering::Relaxed",
                "the next writer may be too early for the other readers";
        }
        "pub(crate) fn release(" {
            rwlock_unwrite_relaxed, rwlock::two, rwlock::cancel_or_not: "Ordering::Release" => "Ordering::Relaxed",
                "the next one does not see what this one did";
        }
        "fn hand_on(" {
            rwlock_wakes_nobody, rwlock::two, rwlock::cancel_or_not: "ready.go();" => "std::mem::forget(ready);",
                "it was granted and sleeps on";
            rwlock_forgets_others, rwlock::three, rwlock::downgrade_among_others: "woken | ⟦waiting⟧" => "0", "nobody wakes the others";
            rwlock_counts_one, rwlock::readers: "readers += READER;" => "", "the others leave in the place of the first";
            rwlock_hands_over_free, rwlock::hand_over: "Some((_, Grant::Given)) => ⟦WRITER⟧" => "0",
                "another takes it as well";
            rwlock_hands_on_relaxed, rwlock::three: "Ordering::Release" => "Ordering::Relaxed",
                "who takes it does not see what was done";
        }
        "pub(crate) fn downgrade(" {
            rwlock_downgrade_relaxed, rwlock::downgrade, rwlock::downgrade_among_others: "Ordering::Release" => "Ordering::Relaxed",
                "a reader does not see what was written";
            rwlock_downgrade_alone, rwlock::downgrade: "self.waiters.in_batches(|locked, ready| self.left(locked, ready));" => "",
                "readers that wait go on waiting for a reader";
        }
    }

    "sync/raw_condvar.rs" {
        "pub(crate) fn wait<R>(" {
            condvar_waits_unseen, condvar::timeout: "self.waiters.state.store(WAITING, Ordering::Relaxed);" => "",
                "nobody notifies it";
            condvar_last_for_all, condvar::timeout: "if ⟦locked.is_empty()⟧" => "true", "nobody notifies the other";
        }
        "fn drop(" {
            condvar_keeps_notification, condvar::cancel: "self.0.notify_one();" => "",
                "it is lost with the one who was cancelled";
        }
        "fn notify_all_slow(" {
            condvar_notifies_one, condvar::notify_all: "locked.wake_all(Grant::Given);" =>
                "{ let mut ready = Ready::new(); locked.grant(&mut ready, |_| Some(Grant::Given)); drop(locked); ready.go(); }",
                "the other is not notified";
        }
    }

    "sync/raw_semaphore.rs" {
        "fn settle(" {
            semaphore_waits_unseen, semaphore::timeout: "state | ⟦WAITING⟧" => "0", "nobody gives it any";
        }
        "fn distribute(" {
            semaphore_gives_twice, semaphore::timeout:
                "self.state().fetch_sub(count as usize * PERMIT, Ordering::Relaxed);" => "", "more are out than there are";
            semaphore_out_of_turn, semaphore::timeout: "(count <= there as u64)" => "true", "fewer than none are left";
        }
        "pub(crate) fn close(" {
            semaphore_closes_silently, semaphore::close: "locked.wake_all(Grant::Refused);" => "drop(locked);",
                "who waits sleeps on";
        }
    }
}
