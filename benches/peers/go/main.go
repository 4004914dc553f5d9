// franz-go with the options of `kommit perf` and its line of JSON.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"sort"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

var (
	servers     = flag.String("bootstrap-servers", "127.0.0.1:9092", "")
	topic       = flag.String("topic", "", "")
	partitions  = flag.Int("partitions", 1, "")
	mode        = flag.String("mode", "throughput", "")
	records     = flag.Int("records", 1_000_000, "")
	size        = flag.Int("size", 100, "")
	keyCount    = flag.Int("keys", 0, "")
	tasks       = flag.Int("tasks", 1, "")
	txnSize     = flag.Int("txn-size", 100, "")
	lingerMs    = flag.Int("linger-ms", 5, "")
	batchSize   = flag.Int("batch-size", 16384, "")
	compression = flag.String("compression", "none", "")
	rate        = flag.Int("rate", 0, "")
	txnID       = flag.String("transactional-id", "peer", "")
)

// One in so many records is timed, as in `kommit perf`.
const timedEvery = 1024

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func payload() []byte {
	state := uint64(0x2545f4914f6cdd1d)
	letters := make([]byte, *size)
	for i := range letters {
		state ^= state << 13
		state ^= state >> 7
		state ^= state << 17
		letters[i] = 'A' + byte(state%26)
	}
	return letters
}

// Keys of 16 bytes, which records have in turn.
func keys() [][]byte {
	made := make([][]byte, *keyCount)
	for i := range made {
		made[i] = fmt.Appendf(nil, "%016d", i)
	}
	return made
}

// Idempotent and acks=all are the defaults. The partitioner is the default one, except that it stays as long as the others do: for a batch.
func client() *kgo.Client {
	codec := kgo.NoCompression()
	switch *compression {
	case "lz4":
		codec = kgo.Lz4Compression()
	case "zstd":
		codec = kgo.ZstdCompression()
	}
	options := []kgo.Opt{
		kgo.SeedBrokers(strings.Split(*servers, ",")...),
		kgo.ProducerLinger(time.Duration(*lingerMs) * time.Millisecond),
		kgo.ProducerBatchMaxBytes(int32(*batchSize)),
		kgo.ProducerBatchCompression(codec),
		kgo.RecordPartitioner(kgo.UniformBytesPartitioner(*batchSize, true, true, nil)),
		kgo.MaxBufferedRecords(300_000),
		kgo.MaxBufferedBytes(32<<20),
	}
	if *mode == "txn" {
		options = append(options, kgo.TransactionalID(*txnID))
	}
	made, err := kgo.NewClient(options...)
	check(err)
	return made
}

type measurement struct {
	started       time.Time
	cpu           time.Duration
	acked, failed atomic.Int64
	lock          sync.Mutex
	times         []int64
	txns          int
}

func begin() *measurement { return &measurement{started: time.Now(), cpu: cpuTime()} }

func (m *measurement) timeSince(begun time.Time) {
	passed := time.Since(begun).Microseconds()
	m.lock.Lock()
	m.times = append(m.times, passed)
	m.lock.Unlock()
}

func (m *measurement) report() {
	wall, cpu := time.Since(m.started).Seconds(), (cpuTime() - m.cpu).Seconds()
	sort.Slice(m.times, func(i, j int) bool { return m.times[i] < m.times[j] })
	at := func(share float64) int64 {
		if len(m.times) == 0 {
			return 0
		}
		return m.times[min(int(share*float64(len(m.times))), len(m.times)-1)]
	}
	kind := "ack"
	if *mode == "txn" {
		kind = "txn"
	}
	acked := float64(m.acked.Load())
	line, err := json.Marshal(map[string]any{
		"who": "franz-go", "mode": *mode, "records": *records, "size": *size,
		"acked": m.acked.Load(), "failed": m.failed.Load(), "wall_s": wall,
		"krec_s": acked / wall / 1e3, "mb_s": acked / wall * float64(*size) / 1e6,
		"cpu_s": cpu, "cpu_ns_per_rec": cpu * 1e9 / max(acked, 1), "rss_mib": peakMiB(), "txns": m.txns,
		kind + "_p50_us": at(0.5), kind + "_p99_us": at(0.99), kind + "_p999_us": at(0.999), kind + "_max_us": at(1),
	})
	check(err)
	fmt.Println(string(line))
}

func main() {
	flag.Parse()
	c, ctx, value := client(), context.Background(), payload()
	defer c.Close()
	if *mode == "txn" {
		transactions(c, ctx, value)
		return
	}
	first := make([]*kgo.Record, 0, *partitions)
	for range *partitions {
		first = append(first, &kgo.Record{Topic: *topic, Value: value})
	}
	check(c.ProduceSync(ctx, first...).FirstErr())
	if *mode == "latency" && *rate == 0 {
		*rate = 10_000
	}
	m, known := begin(), keys()
	var sending sync.WaitGroup
	for task := range *tasks {
		sending.Go(func() { m.sendShare(c, task, known, value) })
	}
	sending.Wait()
	check(c.Flush(ctx))
	m.report()
}

// The records of one goroutine: each has the next one in turn.
func (m *measurement) sendShare(c *kgo.Client, task int, known [][]byte, value []byte) {
	ctx := context.Background()
	for i := task; i < *records; i += *tasks {
		var sent time.Time
		timed := *rate > 0 || i%timedEvery == 0
		if *rate > 0 {
			sent = m.started.Add(time.Duration(int64(i) * 1_000_000_000 / int64(*rate)))
			for left := time.Until(sent); left > 0; left = time.Until(sent) {
				time.Sleep(left)
			}
		} else if timed {
			sent = time.Now()
		}
		record := &kgo.Record{Topic: *topic, Value: value}
		if len(known) > 0 {
			record.Key = known[i%len(known)]
		}
		c.Produce(ctx, record, func(_ *kgo.Record, err error) {
			if err != nil {
				m.failed.Add(1)
			} else {
				m.acked.Add(1)
			}
			if timed {
				m.timeSince(sent)
			}
		})
	}
}

func transactions(c *kgo.Client, ctx context.Context, value []byte) {
	transact := func(count int) {
		check(c.BeginTransaction())
		for range count {
			c.Produce(ctx, &kgo.Record{Topic: *topic, Value: value}, func(_ *kgo.Record, err error) { check(err) })
		}
		check(c.Flush(ctx))
		check(c.EndTransaction(ctx, kgo.TryCommit))
	}
	transact(*partitions)
	m := begin()
	for range *records / *txnSize {
		begun := time.Now()
		transact(*txnSize)
		m.timeSince(begun)
		m.acked.Add(int64(*txnSize))
		m.txns++
	}
	m.report()
}

func cpuTime() time.Duration {
	stat, _ := os.ReadFile("/proc/self/stat")
	fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
	user, _ := strconv.Atoi(fields[11])
	system, _ := strconv.Atoi(fields[12])
	return time.Duration(user+system) * 10 * time.Millisecond
}

func peakMiB() float64 {
	status, _ := os.ReadFile("/proc/self/status")
	_, rest, _ := strings.Cut(string(status), "VmHWM:")
	fields := strings.Fields(rest)
	if len(fields) == 0 {
		return 0
	}
	kib, _ := strconv.ParseFloat(fields[0], 64)
	return kib / 1024
}
