// Sends a command to crm-processor with franz-go and hamba/avro and waits for its reply. Go 1.24 or later:
//
//	cd examples/go
//	go run . 127.0.0.1:9092 http://127.0.0.1:8081 crm.commands crm.replies r-1 c-1 'Ada Lovelace'
//
// The last three arguments are the request id, the customer's external id and the new custom name. Prints the reply as JSON. Exit
// code 0: done, 1: refused, or an error that it prints, 3: no reply in time; after an error and after 3 send it
// again, with the same request id.
package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/hamba/avro/v2"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

const (
	patience      = 30 * time.Second
	correlationID = "correlation-id"
)

// A pointer is a union with null. The names are those of the schema.
type updateCustomerCustomName struct {
	RequestID       *string    `avro:"requestId"`
	Customer        *entityRef `avro:"customer"`
	CustomName      *string    `avro:"customName"`
	ExpectedVersion *int64     `avro:"expectedVersion"`
}

type entityRef struct {
	ExternalID *string `avro:"externalId"`
	RefID      *string `avro:"refId"`
}

// What this program takes of a reply; it skips what else the writer's schema has.
type reply struct {
	RequestID           *string              `avro:"requestId" json:"requestId"`
	StatusCode          int                  `avro:"statusCode" json:"statusCode"`
	StatusMessage       string               `avro:"statusMessage" json:"statusMessage"`
	Errors              []finding            `avro:"errors" json:"errors"`
	Replayed            bool                 `avro:"replayed" json:"replayed"`
	BusinessTransaction *businessTransaction `avro:"businessTransaction" json:"businessTransaction"`
}

type finding struct {
	Code    string  `avro:"code" json:"code"`
	Field   *string `avro:"field" json:"field"`
	Message string  `avro:"message" json:"message"`
}

type businessTransaction struct {
	TransactionID string    `avro:"transactionId" json:"transactionId"`
	OccurredAt    time.Time `avro:"occurredAt" json:"occurredAt"`
	Version       int64     `avro:"version" json:"version"`
	Customer      *customer `avro:"customer" json:"customer"`
}

type customer struct {
	RefID      string  `avro:"refId" json:"refId"`
	ExternalID string  `avro:"externalId" json:"externalId"`
	State      string  `avro:"state" json:"state"`
	CustomName *string `avro:"customName" json:"customName"`
}

func main() {
	log.SetFlags(0)
	if len(os.Args) != 8 {
		fmt.Fprintln(os.Stderr,
			"usage: client BOOTSTRAP_SERVERS REGISTRY_URL COMMAND_TOPIC REPLY_TOPIC REQUEST_ID EXTERNAL_ID CUSTOM_NAME")
		os.Exit(2)
	}
	servers, commands, replies := strings.Split(os.Args[1], ","), os.Args[3], os.Args[4]
	requestID, externalID, name := os.Args[5], os.Args[6], os.Args[7]
	command := updateCustomerCustomName{RequestID: &requestID, Customer: &entityRef{ExternalID: &externalID}, CustomName: &name}

	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	answer, err := ask(ctx, servers, registry(os.Args[2]), commands, replies, externalID, command)
	if errors.Is(err, context.DeadlineExceeded) {
		fmt.Println("no reply after", patience)
		os.Exit(3)
	}
	if err != nil {
		log.Fatal(err)
	}
	line, err := json.Marshal(answer)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(string(line))
	if answer.StatusCode != http.StatusOK {
		os.Exit(1)
	}
}

// ask sends a command and returns the reply to it.
func ask(ctx context.Context, servers []string, registry registry, commands, replies, key string, command updateCustomerCustomName) (*reply, error) {
	// It is idempotent by default, so that its own retries keep the order, and puts a key into the same partition as Java does.
	producer, err := kgo.NewClient(kgo.SeedBrokers(servers...))
	if err != nil {
		return nil, err
	}
	defer producer.Close()
	// The reply will be behind what is there now.
	ends, err := kadm.NewClient(producer).ListEndOffsets(ctx, replies)
	if err == nil {
		err = ends.Error()
	}
	if err != nil {
		return nil, err
	}
	consumer, err := kgo.NewClient(
		kgo.SeedBrokers(servers...),
		kgo.ConsumePartitions(ends.KOffsets()),
		// Without it you would see replies of transactions that were aborted, too.
		kgo.FetchIsolationLevel(kgo.ReadCommitted()),
	)
	if err != nil {
		return nil, err
	}
	defer consumer.Close()

	value, err := registry.encode(ctx, commands+"-crm.v1.UpdateCustomerCustomName", command)
	if err != nil {
		return nil, err
	}
	correlation := []byte(rand.Text())
	record := &kgo.Record{
		Topic: commands,
		// It names the entity, so that its commands stay in order.
		Key:     []byte(key),
		Value:   value,
		Headers: []kgo.RecordHeader{{Key: correlationID, Value: correlation}},
	}
	if err := producer.ProduceSync(ctx, record).FirstErr(); err != nil {
		return nil, err
	}
	for {
		fetches := consumer.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			return nil, err
		}
		for _, record := range fetches.Records() {
			for _, header := range record.Headers {
				if header.Key == correlationID && bytes.Equal(header.Value, correlation) {
					return registry.decode(ctx, record.Value)
				}
			}
		}
	}
}

// registry is the URL of the schema registry.
type registry string

// encode writes the Confluent wire format: byte 0, the schema's id as 4 bytes big-endian, Avro binary.
func (r registry) encode(ctx context.Context, subject string, value any) ([]byte, error) {
	id, schema, err := r.get(ctx, "/subjects/"+subject+"/versions/latest")
	if err != nil {
		return nil, err
	}
	body, err := avro.Marshal(schema, value)
	if err != nil {
		return nil, err
	}
	return append(binary.BigEndian.AppendUint32([]byte{0}, id), body...), nil
}

// decode reads with the schema that the value was written with.
func (r registry) decode(ctx context.Context, value []byte) (*reply, error) {
	if len(value) < 5 || value[0] != 0 {
		return nil, errors.New("not in the Confluent wire format")
	}
	_, schema, err := r.get(ctx, fmt.Sprintf("/schemas/ids/%d", binary.BigEndian.Uint32(value[1:])))
	if err != nil {
		return nil, err
	}
	read := new(reply)
	return read, avro.Unmarshal(schema, value[5:], read)
}

// get asks for a schema. A program that does so for each record keeps what it got: an id always means the same.
func (r registry) get(ctx context.Context, path string) (uint32, avro.Schema, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, string(r)+path, nil)
	if err != nil {
		return 0, nil, err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return 0, nil, err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return 0, nil, fmt.Errorf("%s answered %s", request.URL, response.Status)
	}
	var found struct {
		ID     uint32
		Schema string
	}
	if err := json.NewDecoder(response.Body).Decode(&found); err != nil {
		return 0, nil, err
	}
	schema, err := avro.Parse(found.Schema)
	return found.ID, schema, err
}
